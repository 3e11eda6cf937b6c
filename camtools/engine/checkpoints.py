"""The state of a training, read with the doubt that a file deserves which a power cut may have damaged."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

__all__ = ["read_checkpoint"]

logger = logging.getLogger("camtools")

KEYS = frozenset({"network", "optimizer", "lr_scheduler", "scaler", "epoch", "history", "best"})


def read_checkpoint(name: str, path: Path, device: torch.device | str) -> dict[str, Any] | None:
    """State that :class:`camtools.engine.NetworkTrainer` wrote; None where there is none, or none that can be used.

    A damaged file is named in a warning: the training then begins at its first epoch and overwrites it.

    Args:
        name: of the training, for the message.
        path: the file.
        device: where the tensors go.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        missing = KEYS - set(state)
        why = f"it lacks {', '.join(sorted(missing))}" if missing else ""
    # zipfile, pickle and torch each raise kinds of their own for a damaged file
    except Exception as error:
        why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    if why:
        logger.warning("%s: %s is damaged (%s); the training begins again with its first epoch", name, path, why)
        return None
    return dict(state)
