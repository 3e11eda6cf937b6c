"""torchvision's ImageNet weights: from a file, or downloaded."""

from __future__ import annotations

import os
from typing import Literal

import torch
from torch import Tensor
from torchvision.models import WeightsEnum

__all__ = ["imagenet_state", "saved_state"]


def saved_state(path: str | os.PathLike[str], network: str) -> dict[str, Tensor]:
    """State dictionary in a file.

    Args:
        path: the file.
        network: name of the network, for messages.

    Raises:
        ValueError: the file holds no dictionary.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError(f"expected a state dictionary of {network}, found a {type(state).__name__} in {path}")
    return state


def imagenet_state(
    source: str | os.PathLike[str] | Literal[True], weights: WeightsEnum, network: str
) -> dict[str, Tensor]:
    """State dictionary of a torchvision network.

    Args:
        source: file that holds it, or True to download it.
        weights: torchvision's weights to download.
        network: name of the network, for messages.

    Raises:
        ValueError: the file holds no state dictionary.
        RuntimeError: the download fails.
    """
    if source is not True:
        return saved_state(source, network)
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except OSError as error:
        raise RuntimeError(
            f"expected to download torchvision's {network} weights, found an error ({error}); download them on another "
            "machine and pass the file with pretrained=PATH, or train from scratch with pretrained=False"
        ) from error
