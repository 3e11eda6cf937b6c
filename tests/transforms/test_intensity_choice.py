from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Invertd

from camtools.data.settings import settings_digest
from camtools.transforms import PrepareVolumed, ScaleSlicesd, intensity
from camtools.transforms.intensity_choice import SCORES, UNIT

NAMES = [*UNIT, *SCORES]


def volume() -> MetaTensor:
    torch.manual_seed(0)
    return MetaTensor(torch.rand(2, 12, 10, 3) * 900 + 50, affine=torch.eye(4))


def test_the_default_of_the_bundles_is_unchanged() -> None:
    assert torch.equal(
        intensity("slice")({"image": volume()})["image"], ScaleSlicesd("image")({"image": volume()})["image"]
    )
    assert settings_digest(intensity("slice")) == settings_digest(ScaleSlicesd("image"))


@pytest.mark.parametrize("name", UNIT)
def test_results_in_the_unit_range(name: str) -> None:
    scaled = intensity(name, unit=True)({"image": volume()})["image"]
    axes = (1, 2) if "slice" in name else (1, 2, 3)
    assert (scaled.amin(axes) == 0).all()
    torch.testing.assert_close(scaled.amax(axes).as_tensor(), torch.ones_like(scaled.amax(axes)).as_tensor())


@pytest.mark.parametrize("name", SCORES)
def test_scores_have_mean_zero_and_deviation_one(name: str) -> None:
    scores = intensity(name)({"image": volume()})["image"].as_tensor()
    axes = (1, 2) if name == "zscore_slice" else (1, 2, 3)
    mean, deviation = scores.mean(axes), scores.std(axes, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation, torch.ones_like(deviation))


@pytest.mark.parametrize("name", NAMES)
def test_constant_volumes_become_zero(name: str) -> None:
    for value in (0.0, 0.1, 700.3):
        scaled = intensity(name)({"image": torch.full((1, 9, 8, 3), value)})["image"]
        assert torch.equal(torch.as_tensor(scaled), torch.zeros(1, 9, 8, 3))


def test_every_name_has_its_own_prepared_slices() -> None:
    assert len({settings_digest(intensity(name)) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_return_to_the_voxels_of_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image.nii.gz"
    values = np.random.default_rng(0).random((5, 14, 12)).astype("float32")
    nib.save(nib.Nifti1Image(values, np.diag([4.0, 1.0, 1.0, 1.0])), path)
    prepare = PrepareVolumed(pixel_size=2.0, slice_axis=0, intensity=intensity(name))
    item = prepare({"image": str(path)})
    assert item["image"].shape == (1, 8, 6, 5)
    item["pred"] = MetaTensor(item["image"].as_tensor(), meta=item["image"].meta)
    back = Invertd("pred", prepare, orig_keys="image", nearest_interp=False)(item)
    assert back["pred"].shape == (1, 5, 14, 12)


@pytest.mark.parametrize("name", SCORES)
def test_z_scores_are_refused_where_the_unit_range_is_needed(name: str) -> None:
    message = rf"Expected an intensity in \[0, 1\] \(slice, volume, .*\), found '{name}'. A later step .* Choose one"
    with pytest.raises(ValueError, match=message):
        intensity(name, unit=True)


@pytest.mark.parametrize("unit", [False, True])
def test_another_name_is_refused(unit: bool) -> None:
    with pytest.raises(
        ValueError, match=r"Expected intensity to be one of slice, volume, .*, found 'range'. Choose one"
    ):
        intensity("range", unit=unit)
