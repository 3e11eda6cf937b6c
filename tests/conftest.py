"""Small datasets made on the spot."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

# one thread per process, and per process that a test starts: threads of several processes wait for each other
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups for ``--dist loadgroup``: a file stays in one worker, except that each bundle is a group of its own."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            bundle = getattr(parameters.get("bundle"), "name", "")
            item.add_marker(pytest.mark.xdist_group(f"{item.nodeid.partition('::')[0]}-{bundle}"))


def oblique_affine(spacing: tuple[float, ...] = (1.0, 1.0, 5.0), flips: tuple[int, ...] = (1, 1, 1)) -> np.ndarray:
    affine = np.eye(4)
    rotation = Rotation.from_euler("xyz", (8, -12, 15), degrees=True).as_matrix()
    affine[:3, :3] = rotation @ np.diag(np.array(spacing) * flips)
    affine[:3, 3] = (-20.0, 7.0, 31.0)
    return affine


def write_volume(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, oblique_affine() if affine is None else affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return str(path)


def blob_volume(seed: int, shape: tuple[int, int, int] = (32, 36, 6)) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright textured disc in two of the slices, and its mask."""
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 10, shape)
    mask = np.zeros(shape, np.uint8)
    x, y = np.ogrid[: shape[0], : shape[1]]
    centre = rng.integers(11, 21, 2)
    for k in (2, 3):
        mask[..., k] = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 49
    image[mask > 0] += 120
    return image.astype(np.int16), mask


def write_dataset(folder: Path, counts: dict[str, int], **kwargs: Any) -> Path:
    content: dict[str, Any] = {"labels": {"0": "background", "1": "blob"}}
    seed = 0
    for split, count in counts.items():
        content[split] = []
        for _ in range(count):
            image, mask = blob_volume(seed, **kwargs)
            write_volume(folder / f"images/case_{seed}.nii.gz", image)
            write_volume(folder / f"labels/case_{seed}.nii.gz", mask)
            content[split].append({"image": f"images/case_{seed}.nii.gz", "label": f"labels/case_{seed}.nii.gz"})
            seed += 1
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def bfloat16_in_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    """This processor counts as one with bfloat16 instructions: torch computes the same without them, but slowly."""
    monkeypatch.setattr("camtools.precision.computes_in", lambda dtype, device: True)


@pytest.fixture
def blob_dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", {"training": 3, "validation": 2, "test": 2})
