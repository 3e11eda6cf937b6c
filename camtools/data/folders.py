"""Files below a folder: linked folders are followed, other files than data are skipped, broken links are kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from camtools.data.case_names import case_clashes, case_of_file
from camtools.data.channel_names import refuse_single_channels
from camtools.data.errors import DataError
from camtools.data.file_kinds import DICOM_ADVICE, IMAGE_SUFFIXES, has_dicom, is_image_name

__all__ = ["broken_links", "check_file", "files_below", "list_volumes"]

logger = logging.getLogger("camtools")

# left by macOS, Windows and network drives
_LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"})
_LABEL_SERVER = "datastore_v2.json"  # MONAI Label writes it beside the volumes, and submitted labels to labels/


def files_below(root: str | Path) -> list[Path]:
    """All files below a folder, sorted, without system files and without results of camtools.

    Linked folders are followed, each folder once. Hidden files and folders (such as ``._a.nii.gz`` and ``.DS_Store``)
    are skipped, and so are ``__MACOSX``, folders with the record of a run or a stage of camtools, and the labels that
    MONAI Label keeps beside its volumes. A link whose target is missing is in the list.

    Raises:
        DataError: a folder cannot be read.
    """
    return sorted(path for folder in _folders(Path(root)) for path in _entries(folder) if _is_file(path))


def list_volumes(folder: str | Path) -> list[dict[str, Any]]:
    """Items with the absolute path and the case of every image file below ``folder``, sorted.

    See ``files_below`` for the files and ``camtools.data.case_names.case_of_file`` for the cases.

    Raises:
        DataError: the folder does not exist, has no image, cannot be read, has two files of one case, or one file for
            each channel of a case (``camtools.data.channel_names.refuse_single_channels``).
    """
    # absolute, because the first import of ITK changes the working directory of all threads for a moment
    root = Path(folder).absolute()
    if not root.is_dir():
        raise DataError(f"Expected a folder of volumes, found none at {root}. Check the path.")
    files = [path for path in files_below(root) if is_image_name(path)]
    if not files:
        if any(has_dicom(place) for place in _folders(root)):
            raise DataError(f"Expected files of images, found only DICOM files below {root}. {DICOM_ADVICE}")
        raise DataError(
            f"Expected files that end in one of {', '.join(IMAGE_SUFFIXES)}, outside hidden folders and folders of "
            f"results, found none below {root}. Check the path."
        )
    refuse_single_channels(files, root)
    items = [{"image": str(path), "case": case_of_file(path, root)} for path in files]
    clashes = case_clashes(items)
    if clashes:
        raise DataError("\n".join(clashes))
    return items


def check_file(path: str | Path) -> None:
    """Raise an error where there is no file to read.

    Raises:
        DataError: nothing, a broken link or a folder is at ``path``.
    """
    source = Path(path)
    if os.path.isfile(source):
        return
    if _is_broken_link(source):
        raise DataError(
            f"Expected an image at {source}, found a broken link: {os.readlink(source)} does not exist. Fetch the file "
            "(datalad get, git annex get) or connect its disk."
        )
    if os.path.isdir(source) and has_dicom(source):
        raise DataError(f"Expected an image at {source}, found a folder of DICOM files. {DICOM_ADVICE}")
    if os.path.isdir(source):
        raise DataError(f"Expected an image at {source}, found a folder. Name the file in it.")
    raise DataError(f"Expected an image at {source}, found no such file. Check the path.")


def broken_links(paths: Sequence[Path]) -> list[str]:
    """A message for each link whose target is missing."""
    return [f"{path} is a broken link: {os.readlink(path)} does not exist" for path in paths if _is_broken_link(path)]


def _folders(root: Path) -> Iterator[Path]:
    """The folder and all folders below it, each once: several links may lead to one folder."""
    seen: dict[str, Path] = {}
    pending: list[Path] = [root]
    links: list[Path] = []
    while pending or links:
        folder = pending.pop() if pending else links.pop(0)
        real = os.path.realpath(folder)
        if real in seen:
            logger.info("%s leads to %s, which is already read: skipped", folder, seen[real])
            continue
        seen[real] = folder
        yield folder
        for entry in _entries(folder):
            if entry.is_dir() and not _holds_results(entry):
                (links if entry.is_symlink() else pending).append(entry)


def _entries(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"Expected a folder that can be read, found {folder} ({error.strerror or error}): its volumes would be "
            "missing. Get permission to read it, or move it elsewhere."
        ) from error
    return [path for path in found if not path.name.startswith(".") and path.name.lower() not in _LITTER]


def _is_file(path: Path) -> bool:
    if os.path.isfile(path):
        return True
    broken = _is_broken_link(path)
    if broken and not path.suffix:
        logger.warning("%s is a broken link to %s: nothing below it is read", path, os.readlink(path))
    return broken


def _is_broken_link(path: Path) -> bool:
    return os.path.islink(path) and not os.path.exists(path)


def _holds_results(folder: Path) -> bool:
    """Whether a folder holds results: outputs of an earlier run are not inputs of the next one."""
    if _is_run(folder):
        logger.warning("%s holds results of camtools: not read as data", folder)
        return True
    if folder.name == "labels" and (folder.parent / _LABEL_SERVER).is_file():
        logger.warning("%s holds labels of MONAI Label: not read as data", folder)
        return True
    return False


def _is_run(folder: Path) -> bool:
    if any(folder.glob("stage-*.json")):
        return True
    try:
        return b'"camtools"' in (folder / "manifest.json").read_bytes()
    except OSError:
        return False
