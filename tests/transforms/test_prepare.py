"""Volumes prepared for a network and brought back: camtools.transforms.prepare."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd
from scipy.ndimage import gaussian_filter

from camtools.transforms import (
    InPlaneSpacingd,
    LoadVolumed,
    PrepareVolumed,
    SliceAxisLastd,
)
from tests.conftest import oblique_affine, write_volume


def smooth_volume(shape: tuple[int, ...]) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(0).normal(size=shape), 2).astype(np.float32)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_orientation_and_spacing_come_back(tmp_path: Path, axis: int, flips: tuple[int, int, int]) -> None:
    spacing, shape = [0.8, 0.8, 0.8], [24, 28, 32]
    spacing[axis], shape[axis] = 5.0, 7
    array, affine = smooth_volume(tuple(shape)), oblique_affine(tuple(spacing), flips)
    preprocessing = Compose([LoadVolumed("image"), SliceAxisLastd("image"), InPlaneSpacingd("image", 0.5)])
    data = preprocessing({"image": write_volume(tmp_path / "a.nii.gz", array, affine)})
    prepared = data["image"]
    assert prepared.shape[-1] == 7
    np.testing.assert_allclose(np.linalg.norm(prepared.affine[:3, :3], axis=0), (0.5, 0.5, 5.0), atol=1e-3)
    codes = nib.aff2axcodes(prepared.affine)
    assert list(codes[:2]) == sorted(codes[:2], key="RAS".index)
    data["pred"] = prepared.clone()
    restored = Invertd("pred", preprocessing, orig_keys="image", nearest_interp=False)(data)["pred"]
    assert restored.shape == (1, *shape)
    np.testing.assert_allclose(restored.affine, affine, atol=1e-4)
    inner = tuple(slice(2, -2) if index != axis else slice(None) for index in range(3))
    assert np.abs(restored[0].numpy() - array)[inner].max() < 0.25 * array.std()


def test_slice_k_of_the_file_stays_slice_k(tmp_path: Path) -> None:
    array = np.zeros((5, 6, 7), np.float32) + np.arange(5, dtype=np.float32)[:, None, None]
    for sign in (1, -1):
        path = write_volume(tmp_path / f"a{sign}.nii.gz", array, np.diag([4.0 * sign, 1.0, 1.0, 1.0]))
        volume = SliceAxisLastd("image")(LoadVolumed("image")({"image": path}))["image"]
        assert volume[0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_given_slice_axis_and_errors(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.nii.gz", np.zeros((5, 6, 7), np.float32), np.eye(4))
    assert SliceAxisLastd("image", slice_axis=0)(LoadVolumed("image")({"image": path}))["image"].shape[-1] == 5
    with pytest.raises(ValueError, match=r"slice_axis 0, 1, 2, axial, .* or None \(largest spacing\), found 3"):
        SliceAxisLastd("image", slice_axis=3)
    with pytest.raises(ValueError, match=r"Expected pixel_size to be positive, in mm, found 0"):
        InPlaneSpacingd("image", 0)


def test_no_pixel_size_leaves_the_volume_untouched() -> None:
    volume = MetaTensor(torch.rand(1, 4, 4, 3), affine=torch.eye(4))
    data = {"image": volume}
    transform = InPlaneSpacingd("image", None)
    assert transform(data)["image"] is volume
    assert transform.inverse(data)["image"] is volume


def test_masks_stay_binary_with_nearest(tmp_path: Path) -> None:
    mask = (np.random.default_rng(0).random((9, 9, 3)) > 0.5).astype(np.uint8)
    path = write_volume(tmp_path / "m.nii.gz", mask)
    data = Compose(
        [LoadVolumed(["image", "label"]), InPlaneSpacingd(["image", "label"], 0.7, ["bilinear", "nearest"])]
    )({"image": path, "label": path})
    assert set(data["label"].unique().tolist()) == {0.0, 1.0}
    assert len(data["image"].unique()) > 2


def test_antialias_averages_the_image_alone_and_is_inverted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_volume(tmp_path / "a.nii.gz", rng.normal(size=(24, 20, 5)))
    mask = write_volume(tmp_path / "b.nii.gz", (rng.random((24, 20, 5)) > 0.5).astype(np.uint8))
    made = {}
    for antialias in (False, True):
        prepare = PrepareVolumed(pixel_size=3.0, slice_axis=2, antialias=antialias)
        made[antialias] = prepare({"image": path, "label": mask})
        back = prepare.inverse(dict(made[antialias]))["image"]
        assert tuple(back.shape) == (1, 24, 20, 5)
    assert torch.equal(made[True]["label"].as_tensor(), made[False]["label"].as_tensor())
    assert torch.equal(made[True]["image"].affine, made[False]["image"].affine)
    assert made[True]["image"].std() < 0.7 * made[False]["image"].std()
