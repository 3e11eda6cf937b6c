from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from monai.transforms import Compose, Invertd
from scipy.ndimage import gaussian_filter

from camtools.fusion import mean, normalize_max, normalize_min_max, uncertainty_weighted_mean
from camtools.geodesic import seed_pseudo_label
from camtools.thresholds import map_threshold
from camtools.transforms import (
    ActivationMapsd,
    FuseMapsd,
    GateSlicesd,
    InPlaneSpacingd,
    LoadVolumed,
    MaskAsPseudoLabeld,
    NormalizeMapsd,
    PredictVolumed,
    ScaleSlicesd,
    SeedPseudoLabeld,
    SliceAxisLastd,
    ThresholdMapsd,
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
    with pytest.raises(ValueError, match=r"pixel_size must be positive, in mm, or None .* got 0"):
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


def test_each_slice_is_scaled_by_its_own_extremes() -> None:
    volume = MetaTensor(torch.tensor([[[[2.0, 5.0], [4.0, 5.0]]]]), affine=torch.eye(4))
    scaled = ScaleSlicesd("image")({"image": volume})["image"]
    assert scaled.tolist() == [[[[0.0, 0.0], [1.0, 0.0]]]]
    torch.testing.assert_close(scaled.affine, volume.affine)


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
    with pytest.raises(ValueError, match="Expected one tag per slice, got 3 tags for 4 slices"):
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


class Threshold(torch.nn.Module):
    """Two logits a pixel: foreground where the image is above 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - images, images - 0.5], dim=1) * self.scale


class MeanClassifier(Threshold):
    """Positive where the mean of the slice is above 0.5; two logits or one."""

    def __init__(self, logits: int) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        score = (images.mean(dim=(1, 2, 3)) - 0.5)[:, None] * self.scale
        return score if self.logits == 1 else torch.cat([-score, score], dim=1)


def test_prediction_of_a_volume_is_that_of_its_slices() -> None:
    data = {"image": volume_of(3)}
    logits = PredictVolumed(Threshold(), SliceInferer(roi_size=(-1, -1), spatial_dim=2, sw_batch_size=3))(data)["pred"]
    torch.testing.assert_close(logits[1].as_tensor(), data["image"][0].as_tensor() - 0.5)
    assert not logits.requires_grad


@pytest.mark.parametrize("logits", [1, 2])
def test_gate_empties_negative_slices_alone(logits: int) -> None:
    image = MetaTensor(torch.full((1, 4, 4, 3), 0.2), affine=torch.eye(4))
    image[..., 1] = 0.8
    image[0, 0, 0, 2] = 0.9  # a bright pixel in a slice that is negative on the whole
    data = PredictVolumed(Threshold(), SliceInferer(roi_size=(-1, -1), spatial_dim=2))({"image": image})
    ungated = data["pred"].argmax(dim=0)
    gated = GateSlicesd(MeanClassifier(logits), batch_size=2)(data)["pred"].argmax(dim=0)
    assert ungated[0, 0, 2] == 1
    assert gated[..., [0, 2]].sum() == 0
    assert torch.equal(gated[..., 1], ungated[..., 1])


def test_gate_reads_its_weights_once(tmp_path: Path) -> None:
    torch.save({"scale": torch.tensor([-1.0])}, tmp_path / "classifier.pt")  # turns the verdict round
    image = MetaTensor(torch.full((1, 4, 4, 2), 0.2), affine=torch.eye(4))
    image[..., 1] = 0.8
    logits = torch.stack([torch.zeros(4, 4, 2), torch.ones(4, 4, 2)])
    gate = GateSlicesd(MeanClassifier(2), weights=tmp_path / "classifier.pt")
    data = {"image": image, "pred": MetaTensor(logits)}
    assert gate(data)["pred"].argmax(dim=0)[0, 0].tolist() == [1, 0]
    (tmp_path / "classifier.pt").unlink()
    assert gate(data)["pred"].argmax(dim=0)[0, 0].tolist() == [1, 0]


def test_gate_without_its_weights_names_the_file(tmp_path: Path) -> None:
    gate = GateSlicesd(MeanClassifier(2), weights=tmp_path / "gone.pt")
    with pytest.raises(FileNotFoundError, match=r"gate: expected trained weights at .*gone\.pt"):
        gate({"image": volume_of(1), "pred": MetaTensor(torch.zeros(2, 4, 4, 1))})
