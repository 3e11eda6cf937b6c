"""A tiny dataset for ``same_results.py``: oblique and mirrored affines, slices along any axis, tags without masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SPACING = (1.0, 1.0, 5.0)
POSITIVE = (2, 3)


def write_datasets(folder: Path) -> tuple[Path, Path]:
    """Write the same volumes twice.

    Returns:
        A dataset with a mask for every volume, and one in which the tags of two training volumes are given instead.
    """
    masks, tags = folder / "masks", folder / "tags"
    for place in (masks, tags):
        _write_volumes(place)
    content = _content()
    _write_json(masks, content)
    content["training"][2] = {"image": "images/case_2.nii.gz", "slice_labels": [0, 0, 1, 1, 0, 0]}
    content["training"][3] = {"image": "images/case_3.nii.gz", "slice_labels": "tags.csv"}
    rows = [f"images/case_3.nii.gz,{index},{int(index in POSITIVE)}" for index in range(6)]
    (tags / "tags.csv").write_text("\n".join(["image,slice,label", *rows]) + "\n")
    _write_json(tags, content)
    return masks, tags


def _write_json(folder: Path, content: dict[str, Any]) -> None:
    (folder / "dataset.json").write_text(json.dumps(content))


def _content() -> dict[str, Any]:
    content: dict[str, Any] = {"labels": {"0": "background", "1": "blob"}}
    first = 0
    for split, count in {"training": 4, "validation": 2, "test": 2}.items():
        names = [f"case_{number}.nii.gz" for number in range(first, first + count)]
        content[split] = [{"image": f"images/{name}", "label": f"labels/{name}"} for name in names]
        first += count
    return content


def _write_volumes(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for number in range(8):
        image, mask = _blob(number)
        affine = _affine(oblique=number % 4 != 3, mirrored=number % 2 == 1)
        if number in (1, 5, 7):  # slices along the first axis
            image, mask = np.moveaxis(image, 2, 0), np.moveaxis(mask, 2, 0)
            affine = affine[:, [2, 0, 1, 3]]
        _save(folder / f"images/case_{number}.nii.gz", image, affine)
        _save(folder / f"labels/case_{number}.nii.gz", mask, affine)


def _blob(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright disc in two of six slices, and its mask."""
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 10, (32, 36, 6))
    mask = np.zeros(image.shape, np.uint8)
    x, y = np.ogrid[:32, :36]
    centre = rng.integers(11, 21, 2)
    for k in POSITIVE:
        mask[..., k] = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 49
    image[mask > 0] += 120
    return image.astype(np.int16), mask


def _affine(oblique: bool, mirrored: bool) -> np.ndarray:
    affine = np.diag([*SPACING, 1.0])
    if mirrored:
        affine[0, 0] *= -1
    if oblique:
        angle = np.deg2rad(14)
        turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
        affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = (-20.0, 7.0, 31.0)
    return affine


def _save(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(np.ascontiguousarray(array), affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
