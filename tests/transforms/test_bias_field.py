from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from camtools.data import DataError
from camtools.data.settings import settings_digest
from camtools.data.slice_cache import SliceCache
from camtools.transforms import N4BiasFieldd, PrepareVolumed, intensity
from tests.conftest import write_volume

needs_simpleitk = pytest.mark.skipif(importlib.util.find_spec("SimpleITK") is None, reason="needs the extra 'n4'")
SHORT = {"shrink_factor": 2, "mask": 0.0, "iterations": [20, 20]}


def biased(slices: int, channels: int = 1) -> tuple[MetaTensor, torch.Tensor]:
    """Discs of two tissues times a smooth factor, and the voxels of the outer tissue."""
    x = torch.linspace(-1, 1, 48)[:, None, None]
    y = torch.linspace(-1, 1, 40)[None, :, None]
    radius = (x**2 + y**2).expand(-1, -1, slices)
    tissue = 100.0 * (radius < 0.7) + 60.0 * (radius < 0.2)
    image = (tissue * torch.exp(0.2 * x + 0.12 * y))[None].repeat(channels, 1, 1, 1)
    return MetaTensor(image, affine=torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0]))), tissue == 100


def variation(values: torch.Tensor) -> float:
    return float(values.std() / values.mean())


@needs_simpleitk
@pytest.mark.parametrize(("slices", "channels"), [(6, 1), (1, 1), (3, 2)])
def test_a_tissue_becomes_even(slices: int, channels: int) -> None:
    image, outer = biased(slices, channels)
    before = image.clone()
    corrected = N4BiasFieldd("image", **SHORT)({"image": image})["image"]  # type: ignore[arg-type]
    assert corrected.shape == image.shape
    assert corrected.dtype == torch.float32
    assert torch.equal(corrected.affine, image.affine)
    assert torch.equal(image, before)
    for channel in range(channels):
        assert variation(corrected[channel][outer]) < variation(image[channel][outer]) / 10


@needs_simpleitk
@pytest.mark.parametrize("mask", ["otsu", 0.0, 1e9])
@pytest.mark.parametrize("value", [0.0, 70.0])
def test_constant_volumes_do_not_change(mask: Any, value: float) -> None:
    image = torch.full((1, 12, 12, 3), value)
    assert torch.equal(N4BiasFieldd("image", mask=mask)({"image": image})["image"], image)


@needs_simpleitk
def test_negative_intensities_are_refused() -> None:
    with pytest.raises(DataError, match=r"Expected intensities >= 0 for N4BiasFieldd, found -5 in a volume. Leave"):
        N4BiasFieldd("image")({"image": torch.full((1, 4, 4, 4), -5.0)})


@needs_simpleitk
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shrink_factor": 0}, "Expected shrink_factor to be a whole number >= 1, found 0. Give 4"),
        ({"mask": "li"}, "Expected mask to be 'otsu' or a number, found 'li'. Give one"),
        ({"iterations": []}, r"Expected iterations >= 1 for each level, found \[\]. Give"),
        ({"iterations": [5, 0]}, r"Expected iterations >= 1 for each level, found \[5, 0\]. Give"),
    ],
)
def test_wrong_settings_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        N4BiasFieldd("image", **changed)


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"Expected SimpleITK .* not installed. Run `pip install \"camtools\[n4\]\"`"):
        N4BiasFieldd("image")


@needs_simpleitk
def test_every_setting_and_the_version_count_for_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[dict[str, Any]] = [{}, {"shrink_factor": 3}, {"mask": 1.0}, {"iterations": [9]}]
    digests = {settings_digest(N4BiasFieldd("image", **changed)) for changed in changes}
    assert len(digests) == 4
    assert settings_digest(N4BiasFieldd("image")) in digests
    monkeypatch.setattr("camtools.transforms.bias_field.version", lambda name: "0")
    assert settings_digest(N4BiasFieldd("image")) not in digests


@needs_simpleitk
def test_corrected_slices_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, _ = biased(3)
    path = tmp_path / "image.nii.gz"
    write_volume(path, np.asarray(image[0]))
    steps = [N4BiasFieldd("image", **SHORT), intensity("slice")]  # type: ignore[arg-type]
    prepare = PrepareVolumed(slice_axis=2, intensity=steps)
    first = SliceCache(tmp_path / "cache").slices({"image": str(path)}, prepare)["image"]
    monkeypatch.setattr(N4BiasFieldd, "__call__", lambda self, data: pytest.fail("the field is estimated again"))
    again = SliceCache(tmp_path / "cache").slices({"image": str(path)}, prepare)["image"]
    assert len(first) == len(again) == 3
    for index in range(3):
        assert torch.equal(torch.as_tensor(first[index]), torch.as_tensor(again[index]))
