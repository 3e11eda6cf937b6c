"""What follows a command as ``--id value``: overrides of a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

__all__ = ["WITH_OVERRIDES", "overrides"]

WITH_OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}


def overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Values by id, read as YAML.

    Raises:
        ValueError: the arguments are not pairs of ``--id`` and a value.

    Example:
        >>> overrides(["--width", "0.5", "--image_size", "[64, 64]"])
        {'width': 0.5, 'image_size': [64, 64]}
    """
    if len(arguments) % 2 or any(not name.startswith("--") for name in arguments[::2]):
        raise ValueError(f"Expected pairs of --id value after the options, got {' '.join(arguments)}.")
    return {name[2:]: yaml.safe_load(value) for name, value in zip(arguments[::2], arguments[1::2], strict=True)}
