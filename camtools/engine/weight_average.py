"""Moving average of the weights of a network that is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

__all__ = ["WeightAverage"]

State = dict[str, torch.Tensor]


class WeightAverage:
    """Exponential moving average ``a <- decay a + (1 - decay) w`` of all weights and buffers ``w`` of a network.

    The first update copies ``w``. The average covers about ``1 / (1 - decay)`` iterations. It smooths the steps that
    noisy labels cause, and often generalises better than the last weights (Polyak and Juditsky, "Acceleration of
    Stochastic Approximation by Averaging", SIAM Journal on Control and Optimization, 1992).

    Args:
        network: the network that is trained.
        decay: above 0 and below 1.

    Raises:
        ValueError: ``decay`` is out of range.

    Example:
        >>> network = torch.nn.Linear(1, 1, bias=False)
        >>> average = WeightAverage(network, decay=0.75)
        >>> for value in (4.0, 8.0):
        ...     _ = torch.nn.init.constant_(network.weight, value)
        ...     average.update()
        >>> average.weights()["weight"].item()
        5.0
    """

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(
                f"Expected averaging above 0 and below 1, found {decay}. Give a decay such as 0.99, or null for the "
                "weights themselves."
            )
        self.network = network
        self._model = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    def update(self) -> None:
        """Take the present weights of the network into the average."""
        self._model.update_parameters(self.network)

    def weights(self) -> State:
        """The averaged weights, with the names of the network's own."""
        return dict(self._model.module.state_dict())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the context, the network has the averaged weights."""
        own = {key: value.detach().clone() for key, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.weights())
        try:
            yield
        finally:
            self.network.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return dict(self._model.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._model.load_state_dict(state)
