"""The command ``camtools``."""

from camtools.cli.main import app

__all__ = ["app"]
