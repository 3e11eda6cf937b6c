"""Activation maps that are scored: which methods, which slices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from camtools.cams import CfdCAM, GradCAM, LayerCAM, LTGradCAM
from camtools.data import DataError
from camtools.fusion import layer_sum, normalize_max
from camtools.networks import Ensemble
from camtools.scores.classifier import load_trained_classifier
from camtools.scores.map_methods import CAM_METHODS, build_cams, is_probability, stage_layers, summed_maps
from camtools.scores.validation_maps import object_slices
from tests.cam_classifiers import TRAIN, WIDTH, save_weights, tiny_classifier, tiny_network
from tests.conftest import blob_volume, oblique_affine, write_dataset, write_volume

# ------------------------------------------------------------------ methods


def test_methods_are_what_their_names_say() -> None:
    network = tiny_network()
    stages, images = network.cam_layers, torch.rand(2, 1, 32, 36)
    expected = {
        "gradcam": GradCAM(network, stages[-1:]),
        "layercam-5": LayerCAM(network, stages),
        "ltgradcam": LTGradCAM(network, stages, percentile=20),
        "ltgradcam-0": LTGradCAM(network, stages, percentile=0),
        "ltgradcam-l1": LTGradCAM(network, stages[-1:], percentile=0),
        "cfdcam": CfdCAM(network, stages[-1:], scales=(1.0, 2.0)),
        "cfdcam-ss": CfdCAM(network, stages[-1:], scales=(1.0,)),
        "cfdcam-2x": CfdCAM(network, stages[-1:], scales=(2.0,)),
    }
    for name, cam in build_cams(list(expected), network).items():
        torch.testing.assert_close(summed_maps(cam, images), layer_sum(expected[name](images, target=1)))
        assert is_probability(cam) == name.startswith("cfdcam")


def test_maps_of_an_ensemble_are_the_means_of_those_of_its_members() -> None:
    ensemble = Ensemble(tiny_network, 2, average="logits").eval()
    images = torch.rand(2, 1, 32, 36)
    cam = build_cams(["gradcam"], ensemble)["gradcam"]
    expected = torch.zeros(2, 1, 32, 36)
    for member in ensemble.members:
        expected += normalize_max(build_cams(["gradcam"], member)["gradcam"](images, target=1)) / 2
    maps = summed_maps(cam, images)
    torch.testing.assert_close(normalize_max(maps), normalize_max(expected))


@pytest.mark.parametrize("name", list(CAM_METHODS))
def test_every_method_gives_one_map(name: str) -> None:
    cam = build_cams([name], tiny_network(), batch_size=2)[name]
    maps = summed_maps(cam, torch.rand(3, 1, 32, 36))
    assert maps.shape == (3, 1, 32, 36)
    assert maps.min() >= 0


def test_options_reach_the_methods_that_know_them() -> None:
    options = {"scoring_dtype": torch.bfloat16, "channel_share": 0.5}
    cams = build_cams(["gradcam", "cfdcam", "cfdcam-ss", "cfdcam-2x"], tiny_network(), 3, options)
    assert type(cams.pop("gradcam")) is GradCAM
    for cam in cams.values():
        assert isinstance(cam, CfdCAM)
        assert (cam.scoring_dtype, cam.channel_share, cam.batch_size) == (torch.bfloat16, 0.5, 3)
    with pytest.raises(ValueError, match=r"expected channel_share in \(0, 1\], found 0"):
        build_cams(["cfdcam"], tiny_network(), cfd_options={"channel_share": 0})


def test_unknown_methods_and_classifiers_without_stages() -> None:
    with pytest.raises(ValueError, match=r"methods: expected some of cam, gradcam.*, found magic"):
        build_cams(["gradcam", "magic"], tiny_network())
    with pytest.raises(ValueError, match=r"methods: expected some of .*, found none"):
        build_cams([], tiny_network())
    with pytest.raises(ValueError, match=r"Expected cam_layers, the names of the stages .*, found none in Linear"):
        stage_layers(torch.nn.Linear(2, 2))


# ------------------------------------------------------------------ slices


@pytest.mark.parametrize("pixel_size", [None, 0.7, 1.6])
def test_masks_lie_on_the_prepared_images(blob_dataset: Path, pixel_size: float | None) -> None:
    classifier = tiny_classifier(blob_dataset, pixel_size)
    found = object_slices(classifier, classifier.splits["test"][0])
    assert found is not None
    slices, images = found
    assert slices.indices == (2, 3)
    assert slices.masks.shape == images.shape
    assert slices.masks.dtype == torch.bool
    # The disc is far brighter than the noise around it, so a mask that is shifted or mirrored misses it.
    disagreement = (images > 0.6) != slices.masks
    assert disagreement.float().mean() < 0.02
    assert torch.equal(slices.picture, images[slices.shown, 0])


def test_prepared_masks_are_those_of_the_bundle(blob_dataset: Path, tmp_path: Path) -> None:
    ids = {"dataset_dir": str(blob_dataset), "classifier_dir": save_weights(tmp_path / "c"), "width": WIDTH}
    classifier = load_trained_classifier([TRAIN], ids | {"device": "cpu", "pixel_size": 1.3})
    for item in classifier.splits["test"]:
        label = classifier.prepare({"image": item["image"], "label": item["label"]})["label"]
        found = object_slices(classifier, item)
        assert found is not None
        for index, mask in zip(found[0].indices, found[0].masks, strict=True):
            assert torch.equal(mask[0], label[0, ..., index] > 0.5)


def test_slices_need_a_tag_and_a_mask(blob_dataset: Path) -> None:
    classifier = tiny_classifier(blob_dataset)
    item = classifier.splits["test"][0]
    found = object_slices(classifier, item | {"slice_labels": [1, 0, 0, 1, 0, 1]})
    assert found is not None
    assert found[0].indices == (3,)
    assert object_slices(classifier, item | {"slice_labels": [1, 0, 0, 0, 0, 0]}) is None
    assert object_slices(replace(classifier, min_area_fraction=0.9), item) is None


def test_a_mask_of_another_image_is_refused(blob_dataset: Path, tmp_path: Path) -> None:
    classifier = tiny_classifier(blob_dataset)
    other = write_volume(tmp_path / "other.nii.gz", blob_volume(0, shape=(32, 36, 7))[1])
    with pytest.raises(DataError, match=r"found \(32, 36, 7\) in its mask .*other.nii.gz"):
        object_slices(classifier, classifier.splits["test"][0] | {"label": other})


def test_colour_images_are_one_slice_volumes(tmp_path: Path) -> None:
    mask = np.zeros((24, 32), np.uint8)
    mask[3:9, 20:30] = 255
    Image.fromarray(np.stack([mask, mask // 2, 255 - mask], axis=-1)).save(tmp_path / "slide.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    classifier = replace(tiny_classifier(write_dataset(tmp_path / "data", {"test": 1})), slice_axis=None)
    found = object_slices(classifier, {"image": str(tmp_path / "slide.png"), "label": str(tmp_path / "mask.png")})
    assert found is not None
    slices, images = found
    assert images.shape == (1, 3, *slices.masks.shape[2:])
    assert torch.equal(images[:, :1] > 0.5, slices.masks)


def test_oblique_files_of_any_voxel_order_give_the_same_slices(tmp_path: Path) -> None:
    image, mask = blob_volume(3)
    classifier = tiny_classifier(write_dataset(tmp_path / "data", {"test": 1}))
    found = []
    for codes in ("RAS", "LPS", "SRA"):
        item = {}
        for key, array in (("image", image), ("label", mask)):
            volume = nib.Nifti1Image(array, oblique_affine())
            turn = nib.orientations.ornt_transform(
                nib.io_orientation(volume.affine), nib.orientations.axcodes2ornt(codes)
            )
            nib.save(volume.as_reoriented(turn), tmp_path / f"{codes}_{key}.nii.gz")
            item[key] = str(tmp_path / f"{codes}_{key}.nii.gz")
        slices = object_slices(classifier, item)
        assert slices is not None
        found.append(slices)
    for slices, images in found[1:]:
        assert slices.indices == found[0][0].indices
        assert torch.equal(slices.masks, found[0][0].masks)
        assert torch.equal(images, found[0][1])
