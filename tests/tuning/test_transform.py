"""The transform of a choice against its parts, slice by slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from camtools.data import DataError
from camtools.tuning import MaskChoice, TunedMasksd, choice_cam, choice_mask, fused_map, write_choice
from tests.cam_classifiers import tiny_network

CHOICE = MaskChoice("gradcam++", ("features.5", "features.12"), threshold=0.3, refinement="crf")


@pytest.fixture
def volume() -> dict[str, Any]:
    values = torch.rand(1, 32, 36, 4, generator=torch.Generator().manual_seed(1))
    affine = torch.diag(torch.tensor([1.0, 1.0, 5.0, 1.0])).double()
    return {"image": MetaTensor(values, affine=affine), "slice_labels": [0, 1, 1, 0]}


def test_positive_slices_get_the_map_and_the_mask_of_the_choice(tmp_path: Path, volume: dict[str, Any]) -> None:
    network = tiny_network()
    path = tmp_path / "choice.json"
    for source in (CHOICE, CHOICE.to_dict(), path, str(path)):
        transform = TunedMasksd(source, network)
        write_choice(CHOICE, path)  # an earlier stage writes the file after the transform was built
        result = transform(volume)
        assert result["cam"].shape == result["mask"].shape == (1, 32, 36, 4)
        assert torch.equal(result["cam"].affine, volume["image"].affine)
        for index in (1, 2):
            image = volume["image"].as_tensor()[None, ..., index].contiguous()
            fused = fused_map(choice_cam(CHOICE, network)(image, target=1))
            mask = choice_mask(CHOICE, image, fused)
            torch.testing.assert_close(result["cam"].as_tensor()[..., index], fused[0], rtol=1e-4, atol=1e-5)
            assert (result["mask"].as_tensor()[..., index] != mask[0]).float().mean() < 0.01
        for key in ("cam", "mask"):
            assert not result[key][..., [0, 3]].any()
        assert set(result["mask"].unique().tolist()) == {0.0, 1.0}


def test_without_tags_every_slice_has_a_map(volume: dict[str, Any]) -> None:
    result = TunedMasksd(CHOICE, tiny_network(), tags_key=None, map_key="map", output_key="label")(volume)
    assert (result["map"].as_tensor().amax(dim=(0, 1, 2)) == 1).all()
    assert set(result) == {"image", "slice_labels", "map", "label"}


def test_a_volume_without_positive_slices_is_empty(volume: dict[str, Any]) -> None:
    result = TunedMasksd(CHOICE, tiny_network())(volume | {"slice_labels": [0, 0, 0, 0]})
    assert not result["mask"].any()


def test_what_is_wrong_is_named(tmp_path: Path, volume: dict[str, Any]) -> None:
    with pytest.raises(FileNotFoundError, match="Expected the choice of a tuning at .*, found no such file"):
        TunedMasksd(tmp_path / "choice.json", tiny_network())(volume)
    (tmp_path / "choice.json").write_text("{")
    with pytest.raises(DataError, match="Expected a choice .*choice.json, found another content"):
        TunedMasksd(tmp_path / "choice.json", tiny_network())(volume)
    with pytest.raises(ValueError, match="Expected one tag per slice, found 2 tags for 4 slices"):
        TunedMasksd(CHOICE, tiny_network())(volume | {"slice_labels": [0, 1]})
