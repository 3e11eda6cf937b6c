"""The knob ``intensity`` of the bundles, in training and in inference."""

from __future__ import annotations

import monai
import pytest
from monai.bundle import ConfigParser
from monai.transforms import ScaleIntensityd

from camtools.transforms import ScaleSlicesd, ZScored
from tests.bundles.conftest import REPOSITORY

BUNDLES = ["umcam", "cfdcam", "ltgradcam", "oeem"]


def chosen(bundle: str, file: str, **knobs: str) -> object:
    """The first step of ``preprocessing#intensity``."""
    parser = ConfigParser()
    parser.read_config(str(REPOSITORY / "bundles" / bundle / "configs" / file))
    parser.update(knobs)
    steps = monai.utils.ensure_tuple(parser.get_parsed_content("preprocessing#intensity"))
    return steps[0]


@pytest.mark.parametrize("file", ["train.yaml", "inference.yaml"])
@pytest.mark.parametrize("name", BUNDLES)
def test_slices_are_scaled_by_default(name: str, file: str) -> None:
    assert isinstance(chosen(name, file), ScaleSlicesd)
    assert isinstance(chosen(name, file, intensity="volume"), ScaleIntensityd)


@pytest.mark.parametrize("file", ["train.yaml", "inference.yaml"])
def test_z_scores_only_where_no_step_needs_the_unit_range(file: str) -> None:
    for name in ("umcam", "ltgradcam"):
        assert isinstance(chosen(name, file, intensity="zscore"), ZScored)
    for name in ("cfdcam", "oeem"):  # the CRF; the colour distortion and the mean of the images
        with pytest.raises(RuntimeError) as caught:
            chosen(name, file, intensity="zscore")
        assert "Expected an intensity in [0, 1]" in str(caught.value.__cause__)
