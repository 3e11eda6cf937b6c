"""Trained weights that a stage starts from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

__all__ = ["load_weights"]


def load_weights(name: str, weights: Iterable[tuple[torch.nn.Module, str | Path]]) -> None:
    """Load networks from files of their state dictionaries.

    Args:
        name: of the stage, for messages.
        weights: pairs of a network and the file of its weights.

    Raises:
        FileNotFoundError: a file is missing.
    """
    for network, path in weights:
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"{name}: expected trained weights at {path}, found no such file. Train first "
                "(python -m monai.bundle run --config_file configs/train.yaml) or name another file."
            )
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
