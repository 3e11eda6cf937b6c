"""Maps, masks and pseudo-labels of a volume: camtools.transforms.maps."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from monai.data import MetaTensor

from camtools.fusion import mean, normalize_max, normalize_min_max, uncertainty_weighted_mean
from camtools.geodesic import seed_pseudo_label
from camtools.thresholds import map_threshold
from camtools.transforms import (
    ActivationMapsd,
    FuseMapsd,
    MaskAsPseudoLabeld,
    NormalizeMapsd,
    SeedPseudoLabeld,
    ThresholdMapsd,
)


def volume_of(seed: int, channels: int = 1) -> MetaTensor:
    return MetaTensor(
        torch.rand(channels, 20, 22, 4, generator=torch.Generator().manual_seed(seed)), affine=torch.eye(4)
    )


def fake_cam(images: torch.Tensor, target: int) -> torch.Tensor:
    return torch.cat([images * target, images * 2 * target], dim=1)


def test_maps_of_positive_slices_only() -> None:
    data = {"image": volume_of(0), "slice_labels": [0, 1, 1, 0]}
    maps = ActivationMapsd(fake_cam, target=3)(data)["maps"]
    assert maps.shape == (2, 20, 22, 4)
    assert maps[..., [0, 3]].abs().max() == 0
    torch.testing.assert_close(maps[1, ..., 1].as_tensor(), 6 * data["image"][0, ..., 1].as_tensor())
    everything = ActivationMapsd(fake_cam)({"image": data["image"]})["maps"]
    torch.testing.assert_close(everything[:1].as_tensor(), data["image"].as_tensor())


def test_no_positive_slice_gives_maps_of_zeros() -> None:
    maps = ActivationMapsd(fake_cam)({"image": volume_of(0), "slice_labels": [0, 0, 0, 0]})["maps"]
    assert maps.shape == (2, 20, 22, 4)
    assert maps.abs().max() == 0


def test_number_of_tags_is_checked() -> None:
    with pytest.raises(ValueError, match="Expected one tag per slice, found 3 tags for 4 slices"):
        ActivationMapsd(fake_cam)({"image": volume_of(0), "slice_labels": [0, 1, 1]})


def test_normalising_and_fusing_a_volume_equals_doing_it_slice_by_slice() -> None:
    data = NormalizeMapsd("maps")({"maps": volume_of(1, channels=3)})
    data = FuseMapsd("maps", uncertainty_weighted_mean, output_key="cam")(data)
    for k in range(4):
        maps = volume_of(1, channels=3).as_tensor()[None, ..., k]
        torch.testing.assert_close(data["maps"].as_tensor()[None, ..., k], normalize_max(maps))
        torch.testing.assert_close(
            data["cam"].as_tensor()[None, ..., k], uncertainty_weighted_mean(normalize_max(maps))
        )
    assert FuseMapsd("maps", mean, output_key="cam")(data)["cam"].shape == (1, 20, 22, 4)
    rescaled = NormalizeMapsd("maps", normalize_min_max)({"maps": volume_of(1, channels=3)})["maps"]
    for k in range(4):
        expected = normalize_min_max(volume_of(1, channels=3).as_tensor()[None, ..., k])
        torch.testing.assert_close(rescaled.as_tensor()[None, ..., k], expected)


@pytest.mark.parametrize("rule", ["otsu", "midpoint", 0.7])
def test_mask_of_a_volume_equals_that_of_its_slices(rule: Any) -> None:
    cam = volume_of(4)
    cam[..., 2] = 0
    cam[..., 3] *= 5  # each slice has a threshold of its own
    data = ThresholdMapsd("cam", rule=rule, output_key="object")({"cam": cam})
    assert data["cam"] is cam
    assert data["object"].dtype == torch.float32
    torch.testing.assert_close(data["object"].affine, cam.affine)
    assert data["object"][..., 2].sum() == 0
    for k in range(4):
        maps = cam.as_tensor()[None, ..., k]
        expected = maps > map_threshold(maps, rule)
        assert torch.equal(data["object"].as_tensor()[None, ..., k], expected.float())
        assert expected.any() == (k != 2)


@pytest.mark.parametrize("threshold", ["auto", 0.4])
def test_seed_pseudo_label_of_a_volume_equals_each_slice(threshold: Literal["auto"] | float) -> None:
    image, cam = volume_of(2), torch.zeros(1, 20, 22, 4)
    cam[0, 5:12, 6:13, 1:3] = torch.rand(7, 7, 2, generator=torch.Generator().manual_seed(0)) * 0.1 + 0.1
    data = SeedPseudoLabeld(threshold=threshold)({"image": image, "cam": MetaTensor(cam, affine=torch.eye(4))})
    assert data["spl"][..., [0, 3]].abs().max() == 0
    assert torch.equal(data["cam"].as_tensor(), cam)
    for k in (1, 2):
        single = seed_pseudo_label(image.as_tensor()[None, ..., k], cam[None, ..., k], threshold=threshold)
        torch.testing.assert_close(data["spl"].as_tensor()[None, ..., k], single[:, 1:])
        assert data["foreground_seeds"][..., k].sum() == 1
        assert 1 <= data["background_seeds"][..., k].sum() <= 4


def test_full_supervision_puts_the_mask_everywhere() -> None:
    label = MetaTensor(torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2), affine=torch.eye(4))
    data = MaskAsPseudoLabeld()({"label": label})
    assert data["cam"].flatten().tolist() == data["spl"].flatten().tolist() == [0.0, 1.0]
