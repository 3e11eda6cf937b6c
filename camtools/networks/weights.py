"""Trained weights that a stage starts from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["load_weights", "read_weights"]


def load_weights(name: str, weights: Iterable[tuple[torch.nn.Module, str | Path]]) -> None:
    """Load networks from files of their state dictionaries.

    Args:
        name: of the stage, for messages.
        weights: pairs of a network and the file of its weights.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or holds something else or the weights of another network.
    """
    for network, path in weights:
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"{name}: expected trained weights at {path}, found no such file. Train first "
                "(python -m monai.bundle run --config_file configs/train.yaml) or name another file."
            )
        state = read_weights(name, path)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            first = str(error).splitlines()[:2][-1].strip()
            raise ValueError(
                f"{name}: expected weights of the configured {type(network).__name__}, found weights of another "
                f"network in {path}: {first} Give the overlays and options that it was trained with."
            ) from error


def read_weights(name: str, path: str | Path) -> Mapping[str, Any]:
    """Read a state dictionary.

    Args:
        name: of the stage, for messages.
        path: the file.

    Raises:
        ValueError: the file is damaged, or holds something else.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    # zipfile, pickle and torch each raise kinds of their own for a damaged file
    except Exception as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{name}: expected trained weights (a state dictionary written by torch.save) in {path}, found a file that "
            f"cannot be read: {first} It may be damaged: remove it and train again, or name another file."
        ) from error
    if not isinstance(weights, Mapping):
        raise ValueError(
            f"{name}: expected trained weights (a state dictionary) in {path}, found a {type(weights).__name__}. "
            "Name another file."
        )
    return weights
