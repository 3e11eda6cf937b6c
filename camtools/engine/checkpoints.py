"""Reading the state of a training. The file may be damaged, for example by a power cut."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

__all__ = ["read_checkpoint"]

logger = logging.getLogger("camtools")

KEYS = frozenset({"network", "optimizer", "lr_scheduler", "scaler", "epoch", "history", "best"})


def read_checkpoint(name: str, path: Path, device: torch.device | str) -> dict[str, Any] | None:
    """State that :class:`camtools.engine.NetworkTrainer` wrote, or None if the file is absent or damaged.

    A warning names a damaged file. The training then starts with its first epoch and overwrites the file.

    Args:
        name: name of the training, for the warning.
        path: the file.
        device: device of the loaded tensors.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        missing = KEYS - set(state)
        why = f"it lacks {', '.join(sorted(missing))}" if missing else ""
    # zipfile, pickle and torch raise different exceptions for a damaged file
    except Exception as error:
        why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    if why:
        logger.warning("%s: %s is damaged (%s). The training starts again with its first epoch.", name, path, why)
        return None
    return dict(state)
