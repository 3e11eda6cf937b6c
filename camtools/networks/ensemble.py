"""Several networks that learn at once and predict together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

__all__ = ["Ensemble", "MemberParts", "members_of"]

Average = Literal["probabilities", "logits"]


class Ensemble(nn.Module):
    """Networks of one architecture as a single network: the mean of their predictions.

    They learn in one training: each batch is divided into as many parts as there are members, and each member learns
    from one of them. An epoch takes as long as with one network, and a member needs as many times the epochs of a
    single network as there are members. For a prediction, all members see every image.

    Source: Lakshminarayanan et al., Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles,
    NeurIPS 2017. The division of the batches is ours.

    Args:
        make: makes a member, ``(B, C, H, W) -> (B, K, H, W)``, or ``(B, K)`` of a classifier. The members differ in the
            weights that it draws.
        size: number of members.
        average: what is averaged. ``"logits"`` is for classifiers: it also suits labels that do not exclude each other,
            and the gradients of a member, which maps are made of, do not depend on the other members.

    Raises:
        ValueError: a size below 1, or another name.

    Example:
        >>> import torch
        >>> network = Ensemble(lambda: torch.nn.Conv2d(1, 2, 1), size=3).eval()
        >>> probabilities = network(torch.rand(4, 1, 8, 8)).softmax(dim=1)
        >>> probabilities.shape
        torch.Size([4, 2, 8, 8])
    """

    def __init__(self, make: Callable[[], nn.Module], size: int = 2, average: Average = "probabilities") -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"Expected at least 1 member of an ensemble, found {size}. Give 1 for a single network.")
        if average not in get_args(Average):
            raise ValueError(f"average: expected probabilities or logits, found {average!r}. Choose one of them.")
        self.size = size
        self.average = average
        self.members = nn.ModuleList([make() for _ in range(size)])

    def parts(self, name: str) -> MemberParts:
        """The submodule ``name`` of every member, such as the encoder, to load weights into."""
        return MemberParts([member.get_submodule(name) for member in self.members])

    def class_maps(self, images: Tensor) -> Tensor:
        """Mean of the class maps ``(B, K, h, w)`` of classifiers that have some."""
        maps = [member.class_maps(images) for member in self.members]  # type: ignore[operator]
        return torch.stack(maps).mean(dim=0)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits ``(B, K, H, W)``, or ``(B, K)``, of images ``(B, C, H, W)``.

        In training, they are those of the member that learns from the image. Otherwise, for logits z_m of M members,
        they are the logarithms of the mean probabilities, ``log(sum_m softmax(z_m) / M)``, or the mean logits,
        ``sum_m z_m / M``.
        """
        logits: list[Tensor] = []
        if self.training:
            parts = images.chunk(self.size)
            for index, member in enumerate(self.members):
                if index < len(parts):
                    logits.append(member(parts[index]))
            return torch.cat(logits)
        for member in self.members:
            logits.append(member(images))
        if self.average == "logits":
            return torch.stack(logits).mean(dim=0)
        return torch.logsumexp(torch.stack(logits).log_softmax(dim=2), dim=0) - math.log(self.size)


class MemberParts(nn.Module):
    """The same part of every member of an ensemble, such as their encoders.

    A state dictionary of a single network starts all of them. That of an :class:`Ensemble` starts part i from its
    member i, and from the first one again where there are fewer members than parts.
    """

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Load the state of a network that has the part, or of an ensemble of such networks."""
        states = _member_states(state_dict)
        for index, part in enumerate(self.parts):
            part.load_state_dict(states[index % len(states)], *args, **kwargs)


def _member_states(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, value in state.items():
        if not name.startswith("members."):
            return [dict(state)]
        _, index, rest = name.split(".", 2)
        found.setdefault(index, {})[rest] = value
    return list(found.values())


def members_of(network: nn.Module) -> list[nn.Module]:
    """The members of an ensemble; of another network, the network itself.

    Example:
        >>> network = torch.nn.Conv2d(1, 2, 1)
        >>> members_of(network) == [network]
        True
        >>> len(members_of(Ensemble(lambda: torch.nn.Conv2d(1, 2, 1), size=3)))
        3
    """
    return list(network.members) if isinstance(network, Ensemble) else [network]
