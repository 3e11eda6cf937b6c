"""The built-in dataset of a bundle: phantoms, written on first use."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from camtools import __version__
from camtools.data.phantoms import write_phantoms

__all__ = ["builtin_dataset", "cache_folder"]

logger = logging.getLogger("camtools")


def cache_folder() -> Path:
    """Folder of the built-in data: ``$CAMTOOLS_CACHE``, else ``camtools`` in the cache folder of the user."""
    if os.environ.get("CAMTOOLS_CACHE"):
        return Path(os.environ["CAMTOOLS_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "camtools"


def builtin_dataset(kind: str, n: int, seed: int = 0) -> str:
    """Folder of ``n`` phantom volumes with masks and slice tags, written on the first call.

    Args:
        kind: kind of phantom, such as ``"fetal_brain"``.
        n: number of volumes over all splits.
        seed: seed of the phantoms.
    """
    folder = cache_folder() / f"{kind}-n{n}-seed{seed}-v{__version__}"
    if not (folder / "dataset.json").is_file():
        logger.info("No dataset_dir given: making %d %s phantoms in %s (once)", n, kind, folder)
        try:
            write_phantoms(kind, folder, n=n, seed=seed)
        except FileExistsError:  # another process of the same run was first
            if not (folder / "dataset.json").is_file():
                raise
    else:
        logger.info("No dataset_dir given: using the built-in %s phantoms in %s", kind, folder)
    return str(folder)
