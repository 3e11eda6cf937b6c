"""Several networks that learn at once and predict together."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["Ensemble"]


class Ensemble(nn.Module):
    """Networks of one architecture as a single network: the mean of their class probabilities.

    They learn in one training: each batch is divided into as many parts as there are members, and each member learns
    from one of them. An epoch takes as long as with one network, and a member needs as many times the epochs of a
    single network as there are members. For a prediction, all members see every image.

    Source: Lakshminarayanan et al., Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles,
    NeurIPS 2017. The division of the batches is ours.

    Args:
        make: makes a member, ``(B, C, H, W) -> (B, K, H, W)``. The members differ in the weights that it draws.
        size: number of members.

    Raises:
        ValueError: a size below 1.

    Example:
        >>> import torch
        >>> network = Ensemble(lambda: torch.nn.Conv2d(1, 2, 1), size=3).eval()
        >>> probabilities = network(torch.rand(4, 1, 8, 8)).softmax(dim=1)
        >>> probabilities.shape
        torch.Size([4, 2, 8, 8])
    """

    def __init__(self, make: Callable[[], nn.Module], size: int = 2) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"Expected at least 1 member of an ensemble, found {size}. Give 1 for a single network.")
        self.size = size
        self.members = nn.ModuleList([make() for _ in range(size)])

    def parts(self, name: str) -> list[nn.Module]:
        """The submodule ``name`` of every member, such as the encoder, for weights that all start from."""
        return [member.get_submodule(name) for member in self.members]

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits ``(B, K, H, W)`` of images ``(B, C, H, W)``.

        In training, they are those of the member that learns from the image. Otherwise, they are the logarithms of the
        mean probabilities, ``log(sum_m softmax(z_m) / M)`` for logits z_m of M members.
        """
        logits: list[Tensor] = []
        if self.training:
            parts = images.chunk(self.size)
            for index, member in enumerate(self.members):
                if index < len(parts):
                    logits.append(member(parts[index]))
            return torch.cat(logits)
        for member in self.members:
            logits.append(torch.log_softmax(member(images), dim=1))
        return torch.logsumexp(torch.stack(logits), dim=0) - math.log(self.size)
