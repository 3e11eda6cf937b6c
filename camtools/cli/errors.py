"""How commands end when something is wrong: with one message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

__all__ = ["plain_errors"]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors that name their cause end a command with that one message, not with a traceback."""
    from camtools.data.errors import reason

    try:
        yield
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        message = reason(error) if error.__cause__ else str(error)
        typer.secho(f"Error: {message}", fg=typer.colors.RED, err=True)
        raise typer.Exit(code=1) from error
