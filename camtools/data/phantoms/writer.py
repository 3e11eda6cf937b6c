"""A folder of phantoms in the layout of the Medical Segmentation Decathlon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from camtools.data.dividing import SPLIT_NAMES, check_fractions, check_seed
from camtools.data.files import atomic_folder, check_free_folder, write_json
from camtools.data.phantoms.phantom import Phantom, Photograph
from camtools.data.phantoms.registry import make_phantom, phantom_kind

__all__ = ["write_phantoms"]


def write_phantoms(
    kind: str,
    out_dir: str | Path,
    n: int,
    seed: int = 0,
    splits: tuple[float, float, float] = (0.6, 0.15, 0.25),
) -> Path:
    """Write phantoms as a dataset that the bundles can train on.

    ``out_dir`` gets ``images/<kind>_000.nii.gz``, ``labels/<kind>_000.nii.gz`` and ``dataset.json``, whose items hold
    ``image``, ``label`` (paths relative to ``out_dir``) and ``slice_labels`` (one tag per slice along the last axis).
    Photographs, such as phantoms of kind ``"gland"``, are volumes of one slice and are written as PNG.
    Everything is written to a folder beside ``out_dir`` that is renamed at the end: ``out_dir`` is complete or absent.

    Args:
        kind: name of a kind in ``KINDS``, for example ``"fetal_brain"``.
        out_dir: folder to write; absent or empty. Its parents are created.
        n: number of volumes, >= 3.
        seed: integer >= 0; volume i depends on the kind, the seed and i only, so a larger n keeps the first volumes.
        splits: fractions of the volumes, in order, for training, validation and test: positive, with sum 1. Each split
            gets at least one volume.

    Returns:
        Path to ``dataset.json``.

    Raises:
        ValueError: unknown kind, or ``n``, ``seed`` or ``splits`` out of range.
        FileExistsError: ``out_dir`` is a file or holds something.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_phantoms("fetal_brain", Path(folder) / "brains", n=3)
        ...     path.name, sorted(item.name for item in path.parent.iterdir())
        ('dataset.json', ['dataset.json', 'images', 'labels'])
    """
    out_dir = Path(out_dir)
    entry = phantom_kind(kind)
    check_seed(seed)
    bounds = _split_bounds(n, splits)
    check_free_folder(out_dir)
    with atomic_folder(out_dir) as partial:
        for folder in ("images", "labels"):
            (partial / folder).mkdir()
        items = [
            _write_item(make_phantom(kind, _volume_seed(seed, index)), partial, f"{kind}_{index:03d}")
            for index in tqdm(range(n), desc="phantoms", unit="volume", disable=None)
        ]
        content: dict[str, Any] = {
            "name": kind,
            "description": entry.description,
            "labels": {"0": "background", "1": entry.label},
        }
        for name, start, stop in zip(SPLIT_NAMES, bounds[:-1], bounds[1:], strict=True):
            content[name] = items[start:stop]
        write_json(content, partial / "dataset.json")
    return out_dir / "dataset.json"


def _volume_seed(seed: int, index: int) -> int:
    """Seed of one volume, unrelated for neighbouring seeds and indices."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0])


def _split_bounds(n: int, splits: tuple[float, float, float]) -> tuple[int, int, int, int]:
    """First index of every split, and ``n``; every split has at least one volume."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 3:
        raise ValueError(f"Expected n >= 3 volumes, at least one per split, found n = {n!r}. Raise n.")
    check_fractions(splits)
    first = min(max(round(n * splits[0]), 1), n - 2)
    second = min(max(round(n * (splits[0] + splits[1])), first + 1), n - 1)
    return 0, first, second, int(n)


def _write_item(phantom: Phantom | Photograph, folder: Path, name: str) -> dict[str, Any]:
    """Write image and mask of one phantom and return its item for ``dataset.json``."""
    item: dict[str, Any] = {}
    for key, subfolder, voxels in (("image", "images", phantom.image), ("label", "labels", phantom.mask)):
        if isinstance(phantom, Photograph):
            item[key] = f"{subfolder}/{name}.png"
            Image.fromarray(voxels).save(folder / item[key])
        else:
            item[key] = f"{subfolder}/{name}.nii.gz"
            _write_nifti(voxels, phantom.affine, folder / item[key])
    item["slice_labels"] = phantom.slice_labels
    return item


def _write_nifti(voxels: NDArray[Any], affine: NDArray[np.float64], path: Path) -> None:
    """Write voxels with the affine as both qform and sform (scanner coordinates) and mm as the unit."""
    volume = nib.Nifti1Image(voxels, affine)
    volume.set_qform(affine, code="scanner")
    volume.set_sform(affine, code="scanner")
    volume.header.set_xyzt_units("mm")
    nib.save(volume, path)
