"""Writing files: atomically, with content hashes, and as NIfTI with the geometry of an input."""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import torch
from numpy.typing import NDArray

from camtools.data.partials import names_a_dead_writer, partial_path
from camtools.data.storage import make_folder, storage_errors, sync_file, sync_folder, sync_tree

__all__ = [
    "aside_name",
    "atomic_folder",
    "atomic_path",
    "atomic_save",
    "check_free_folder",
    "file_hash",
    "input_hash_of",
    "save_like",
    "write_json",
]


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Temporary path beside ``path``, renamed to ``path`` when the block succeeds and removed when it fails.

    The content is on the disk before the file gets its name: after a power cut ``path`` is either the old file or the
    complete new one. The temporary name keeps the suffixes of ``path``, because writers choose the format by them.

    Raises:
        StorageError: the file cannot be written (no space, no permission).

    Example:
        >>> import tempfile; folder = Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("done")
        >>> (folder / "a.txt").read_text()
        'done'
    """
    target = Path(path)
    make_folder(target.parent)
    temporary = partial_path(target)
    try:
        with storage_errors(target, temporary):
            yield temporary
            sync_file(temporary)
            temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """New folder beside ``folder``, renamed to ``folder`` when the block succeeds and removed when it fails.

    So ``folder`` is complete or absent. Before, it must be absent or empty (:func:`check_free_folder`).

    Raises:
        StorageError: the folder cannot be written (no space, no permission).
    """
    make_folder(folder.parent)
    _remove_dead_partials(folder)
    partial = partial_path(folder, folder=True)
    try:
        with storage_errors(folder, partial):
            partial.mkdir()
            yield partial
            sync_tree(partial)
            # On some systems, Python cannot rename onto a folder, even an empty one.
            if folder.exists():
                check_free_folder(folder)
                folder.rmdir()
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(folder.parent)


def _remove_dead_partials(folder: Path) -> None:
    """Remove what killed processes of this machine had begun to write for this folder."""
    for path in folder.parent.glob(glob.escape(f".{folder.name}.") + "*.partial"):
        if names_a_dead_writer(path):
            shutil.rmtree(path, ignore_errors=True)


def aside_name(folder: Path) -> Path:
    """First free name ``<folder>.old-<n>``, under which an earlier folder is kept."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    return aside


def check_free_folder(folder: Path) -> None:
    """Raise an error where a folder to write is not empty, or is a file.

    Raises:
        FileExistsError: the folder is a file or has entries.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"Expected {folder} to be a new or empty folder, found a file. Choose another folder.")
    if folder.is_dir() and (found := sorted(item.name for item in folder.iterdir())):
        raise FileExistsError(
            f"Expected {folder} to be a new or empty folder, found {len(found)} entries, the first {found[0]!r}. "
            "Choose another folder or empty this one."
        )


def atomic_save(content: Any, path: str | Path) -> None:
    """``torch.save``, atomically: a killed run never leaves an incomplete checkpoint."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        torch.save(content, handle)


def write_json(content: Any, path: str | Path) -> None:
    """Write ``content`` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with Path(path).open("rb") as handle:
        digest = hashlib.sha256()
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_like(
    array: NDArray[Any], affine: NDArray[Any], reference: str | Path, path: str | Path, input_hash: str | None = None
) -> None:
    """Write ``array`` as NIfTI with the geometry of ``reference``, atomically.

    Where the reference is NIfTI, its header is copied (both transforms with their codes, the units of space and time);
    one of several channels counts as one volume.
    Otherwise ``affine`` is written, in mm. The description of the header stores a hash of the input, by which a later
    run recognises the input of this output (:func:`input_hash_of`).

    Args:
        array: ``(X, Y, Z)`` values in the reference's voxel order.
        affine: ``(4, 4)`` voxel-to-world matrix, used where the reference is not NIfTI.
        reference: the input image.
        path: file to write, ``.nii`` or ``.nii.gz``.
        input_hash: 32 characters; None uses the first 32 of :func:`file_hash` of the reference.

    Raises:
        ValueError: the shapes of ``array`` and reference differ.
    """
    if str(reference).lower().endswith((".nii", ".nii.gz")):
        source = nib.load(reference)
        shape = _one_channel(source.shape)
        if [size for size in array.shape if size > 1] != [size for size in shape if size > 1]:
            raise ValueError(f"Expected an array of shape {shape}, found {array.shape} for {reference}.")
        header = source.header.copy()
        header.set_data_dtype(array.dtype)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0
        image = type(source)(array.reshape(shape), source.affine, header)
    else:
        image = nib.Nifti1Image(array, affine)
        image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"camtools input={input_hash or file_hash(reference)[:32]}"
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def _one_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of one channel of an image whose channels lie along the fourth axis."""
    return shape[:3] if len(shape) == 4 and shape[3] > 1 else shape


def input_hash_of(path: str | Path) -> str | None:
    """Hash of the input that :func:`save_like` recorded in ``path``; None for other files."""
    try:
        text = bytes(nib.load(path).header["descrip"]).decode(errors="ignore").rstrip("\0")
    except Exception:
        return None
    return text.partition("input=")[2] or None
