"""From a choice to CAM objects and masks."""

from __future__ import annotations

import pytest
import torch

from camtools.cams import FullGrad, LayerCAM, LTGradCAM
from camtools.crf import DenseCRF
from camtools.fusion import centre_at_threshold, normalize_max
from camtools.geodesic import seed_pseudo_label
from camtools.networks import Ensemble
from camtools.thresholds import otsu
from camtools.tuning import FUSIONS, MaskChoice, choice_cam, choice_mask, fused_map
from camtools.tuning.masks import unit_slices
from tests.cam_classifiers import tiny_network


def choice(refinement: str = "none", threshold: object = 0.5, **parameters: object) -> MaskChoice:
    return MaskChoice(
        "layercam",
        ("features.22",),
        threshold=threshold,
        refinement=refinement,
        parameters=parameters,  # type: ignore[arg-type]
    )


def disc() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    distance = ((x - 15) ** 2 + (y - 17) ** 2).float().sqrt()
    image = 0.2 + 0.6 * (distance < 8).float() + 0.02 * torch.rand(32, 32)
    return image[None, None], normalize_max((12 - distance).clamp(min=0)[None, None])


@pytest.mark.parametrize(
    ("name", "layers", "options", "expected"),
    [
        ("layercam", ("features.5",), {}, LayerCAM),
        ("ltgradcam", ("features.5", "features.22"), {"percentile": 40}, LTGradCAM),
        ("fullgrad", (), {}, FullGrad),
    ],
)
def test_the_cam_object_is_that_of_the_choice(
    name: str, layers: tuple[str, ...], options: dict, expected: type
) -> None:
    network = tiny_network()
    cam = choice_cam(MaskChoice(name, layers, options=options), network)
    assert type(cam) is expected
    assert cam.model is network  # type: ignore[attr-defined]
    assert not layers or cam.layers == layers  # type: ignore[attr-defined]
    assert getattr(cam, "percentile", None) == options.get("percentile")


def test_maps_of_an_ensemble_at_several_sizes() -> None:
    ensemble = Ensemble(tiny_network, 2, average="logits").eval()
    one = MaskChoice("layercam", ("features.5", "features.22"), mirrored=True, scales=(1.0, 1.5))
    images = torch.rand(2, 1, 32, 32)
    maps = choice_cam(one, ensemble)(images, target=1)
    members = [choice_cam(one, member)(images, target=1) for member in ensemble.members]
    expected = normalize_max(members[0]) + normalize_max(members[1])
    torch.testing.assert_close(normalize_max(maps), normalize_max(expected))


def test_what_does_not_fit_the_network_is_named() -> None:
    network = tiny_network()
    with pytest.raises(ValueError, match="expected the name of a layer of VGG16CAM, found 'layer3'"):
        choice_cam(MaskChoice("layercam", ("layer3",)), network)
    with pytest.raises(ValueError, match=r"options: expected arguments of layercam, found percentile \("):
        choice_cam(MaskChoice("layercam", ("features.5",), options={"percentile": 3}), network)


def test_maps_are_fused_by_hand() -> None:
    maps = torch.tensor([[[[0.0, 1.0, 2.0]], [[0.0, 8.0, 2.0]]]])
    expected = {
        "mean": [0, 1.5 / 2, (1 + 0.25) / 2],
        "geometric_mean": [0, 0.5**0.5, 0.25**0.5],
        "layer_sum": [0, 9, 4],
    }
    for name, values in expected.items():
        peak = max(values)
        torch.testing.assert_close(fused_map(maps, name).flatten(), torch.tensor(values) / peak)
    for name in FUSIONS:
        fused = fused_map(torch.rand(3, 4, 5, 6), name)
        assert fused.shape == (3, 1, 5, 6)
        assert fused.flatten(1).amax(1).tolist() == [1, 1, 1]
        assert not fused_map(torch.zeros(1, 2, 3, 3), name).any()


def test_thresholds_by_hand() -> None:
    maps = torch.tensor([[[[0.0, 0.3, 0.6, 1.0]]]])
    assert choice_mask(choice(threshold=0.3), maps, maps).flatten().tolist() == [False, False, True, True]
    assert torch.equal(choice_mask(choice(threshold="otsu"), maps, maps), maps > otsu(maps))


def test_the_crf_starts_at_the_threshold() -> None:
    image, cam = disc()
    images, maps = torch.cat([image, image.flip(2)]), torch.cat([cam, cam.flip(2)])
    crf = DenseCRF(empty_below=None, bilateral_sxy=20)
    expected = crf(images, centre_at_threshold(maps, 0.7))[:, 1:] > 0.5
    assert torch.equal(choice_mask(choice("crf", 0.7, bilateral_sxy=20), images, maps), expected)
    weak = choice("crf", 0.7, gaussian_compat=0, bilateral_compat=0)  # without pairs of pixels, the unary term alone
    assert torch.equal(choice_mask(weak, images, maps), maps > 0.7)


def test_the_crf_takes_slices_that_are_not_in_the_unit_range() -> None:
    image, maps = disc()
    scaled = unit_slices(3 * image - 4)
    torch.testing.assert_close((scaled.min(), scaled.max()), (torch.tensor(0.0), torch.tensor(1.0)))
    crf = DenseCRF(empty_below=None)
    expected = crf(scaled, centre_at_threshold(maps, 0.4))[:, 1:] > 0.5
    assert torch.equal(choice_mask(choice("crf", 0.4), 3 * image - 4, maps), expected)


def test_geodesic_seeds_come_from_the_thresholded_map() -> None:
    image, maps = disc()
    expected = seed_pseudo_label(image, maps, 0.4, margin=3)[:, 1:] > 0.5
    assert torch.equal(choice_mask(choice("geodesic", 0.4, margin=3), image, maps), expected)
    raised = 0.5 + maps / 2  # the threshold is of the map and not of its range
    assert torch.equal(choice_mask(choice("geodesic", 0.7, margin=3), image, raised), expected)


@pytest.mark.parametrize("refinement", ["none", "crf", "geodesic"])
def test_a_map_of_zeros_has_an_empty_mask_and_changes_no_other(refinement: str) -> None:
    image, maps = disc()
    images, both = torch.cat([image, image]), torch.cat([torch.zeros_like(maps), maps])
    masks = choice_mask(choice(refinement), images, both)
    assert not masks[0].any()
    assert torch.equal(masks[1:], choice_mask(choice(refinement), image, maps))
    assert not choice_mask(choice(refinement), images, torch.zeros_like(both)).any()
