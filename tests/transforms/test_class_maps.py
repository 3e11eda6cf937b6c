"""camtools.transforms.PatchClassMapsd: pseudo-masks of volumes from the tags of patches."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from camtools.cams import PatchClassMaps
from camtools.networks import ResNet38
from camtools.patches import PatchGrid
from camtools.transforms import PatchClassMapsd
from tests.conftest import oblique_affine

GRID = PatchGrid(16, 8)


@pytest.fixture
def maps() -> PatchClassMaps:
    torch.manual_seed(0)
    return PatchClassMaps(ResNet38(in_channels=1, width=0.02, norm="group"), GRID, scales=(1.0, 1.5), input_size=24)


@pytest.fixture
def volume() -> MetaTensor:
    return MetaTensor(torch.rand(1, 24, 30, 3, generator=torch.Generator().manual_seed(1)), affine=oblique_affine())


def test_maps_of_each_slice(maps: PatchClassMaps, volume: MetaTensor) -> None:
    tags = torch.rand(3, 6, 2, generator=torch.Generator().manual_seed(2)) > 0.4
    tags[..., 0] |= ~tags.any(dim=2)
    result = PatchClassMapsd(maps)({"image": volume, "patch_tags": tags})
    for k in range(3):
        image = volume[None, ..., k].as_tensor()
        shares, unrefined = maps(image, tags[k][None])[0], maps(image)[0]
        torch.testing.assert_close(result["cam"][0, ..., k].as_tensor(), shares[1], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(result["unrefined"][0, ..., k].as_tensor(), unrefined[1], atol=1e-5, rtol=1e-4)
        expected = (shares[1] > shares[0]).float()
        assert torch.mean((result["mask"][0, ..., k].as_tensor() != expected).float()) < 0.01
    for key in ("cam", "unrefined", "mask"):
        assert result[key].shape == (1, 24, 30, 3)
        assert torch.equal(result[key].affine, volume.affine)


def test_slice_whose_patches_show_no_object_is_empty(maps: PatchClassMaps, volume: MetaTensor) -> None:
    tags = torch.ones(3, 6, 2, dtype=torch.bool)
    tags[1, :, 1] = False
    result = PatchClassMapsd(maps)({"image": volume, "patch_tags": tags})
    assert result["cam"][..., 1].max() == result["mask"][..., 1].max() == 0
    assert result["cam"][..., 0].max() > 0


def test_without_tags_nothing_is_removed(maps: PatchClassMaps, volume: MetaTensor) -> None:
    result = PatchClassMapsd(maps)({"image": volume})
    assert torch.equal(result["cam"], result["unrefined"])


def test_tags_of_other_slices_are_refused(maps: PatchClassMaps, volume: MetaTensor) -> None:
    with pytest.raises(ValueError, match="Expected patch tags of 3 slices, found tags of 2 slices"):
        PatchClassMapsd(maps)({"image": volume, "patch_tags": torch.ones(2, 6, 2)})
