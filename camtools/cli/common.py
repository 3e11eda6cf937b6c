"""What the commands share: options that override a configuration, and errors as one message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

__all__ = ["WITH_OVERRIDES", "overrides", "plain_errors"]

WITH_OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}


@contextmanager
def plain_errors() -> Iterator[None]:
    """End a command with the message of an error instead of a traceback."""
    from camtools.data.errors import reason

    try:
        yield
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        message = reason(error) if error.__cause__ else str(error)
        typer.secho(f"Error: {message}", fg=typer.colors.RED, err=True)
        raise typer.Exit(code=1) from error


def overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Values by id, from the ``--id value`` pairs that follow the options of a command.

    A value is read as a configuration file reads it, see :func:`camtools.engine.knobs.read_text`.

    Raises:
        ValueError: the arguments are not pairs of ``--id`` and a value.

    Example:
        >>> overrides(["--width", "0.5", "--image_size", "[64, 64]"])
        {'width': 0.5, 'image_size': [64, 64]}
    """
    from camtools.engine.knobs import read_text

    names = arguments[::2]
    if len(arguments) % 2 or any(not name.startswith("--") for name in names):
        raise ValueError(f"Expected pairs of --id value after the options, found {' '.join(arguments)}.")
    return {name[2:]: read_text(text) for name, text in zip(names, arguments[1::2], strict=True)}
