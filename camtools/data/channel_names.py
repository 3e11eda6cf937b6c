"""Files of single channels by their names: nnU-Net ends them in ``_0000``, ``_0001``, and so on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from camtools.data.errors import DataError
from camtools.data.file_kinds import DETACHED_SUFFIXES, IMAGE_SUFFIXES, is_photograph
from camtools.data.headers import header_geometry
from camtools.data.nifti_header import MOST_CHANNELS

__all__ = ["channels_by_case", "refuse_single_channels"]

_ENDINGS = "|".join(re.escape(suffix) for suffix in (*IMAGE_SUFFIXES, *DETACHED_SUFFIXES))
_FILE = re.compile(rf"(?P<case>.+)_(?P<channel>\d{{4}})(?:{_ENDINGS})", re.IGNORECASE)


def channels_by_case(paths: Iterable[Path]) -> dict[Path, dict[int, Path]]:
    """Files that end in a number of four digits: path of the case without number and suffix -> number -> file.

    Photographs are left out.

    Example:
        >>> found = channels_by_case([Path("a/p_0001.nii.gz"), Path("a/p_0000.nii.gz"), Path("a/q.nii.gz")])
        >>> [(case.as_posix(), sorted(files)) for case, files in found.items()]
        [('a/p', [0, 1])]
    """
    cases: dict[Path, dict[int, Path]] = defaultdict(dict)
    for path in paths:
        match = _FILE.fullmatch(path.name)
        if match and not is_photograph(path):
            cases[path.parent / match["case"]][int(match["channel"])] = path
    return dict(cases)


def refuse_single_channels(paths: Iterable[Path], folder: Path) -> None:
    """Stop where the files of a case are its channels, since each would count as a case of its own.

    Files are channels where their names end in ``_0000``, ``_0001`` and so on without a gap, 2 to 16 of them, and their
    headers have one shape and affine.

    Raises:
        DataError: names the first case, and the command that joins its files.
    """
    for files in channels_by_case(paths).values():
        numbers = sorted(files)
        if 2 <= len(numbers) <= MOST_CHANNELS and numbers == list(range(len(numbers))) and _on_same_voxels(files):
            names = ", ".join(files[number].name for number in numbers)
            raise DataError(
                f"Expected one file for each case, found what looks like one file for each channel of a case below "
                f"{folder}: {names}. Join them: camtools channels {folder} --output-dir DIR. If each file is a case of "
                "its own, rename them, or list them in a dataset.json."
            )


def _on_same_voxels(files: Mapping[int, Path]) -> bool:
    geometries = [header_geometry(path) for path in files.values()]
    first = geometries[0]
    for geometry in geometries:
        if first is None or geometry is None or geometry[1] != first[1]:
            return False
        if not np.allclose(geometry[0], first[0], atol=1e-2):
            return False
    return True
