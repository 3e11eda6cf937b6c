"""What a tuning may be asked to do."""

from __future__ import annotations

from typing import Any

import pytest

from camtools.tuning import MaskChoice, TuningSettings
from camtools.tuning.settings import REFINEMENTS, chosen_refinements


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"methods": ["magic"]}, r"methods: expected some of cam, gradcam, .*, found magic"),
        ({"methods": []}, r"methods: expected some of .*, found none"),
        ({"thresholds": [0.0, 0.5]}, r"thresholds: expected numbers between 0 and 1, found \[0.0, 0.5\]"),
        ({"thresholds": []}, r"thresholds: expected numbers between 0 and 1, found \[\]"),
        ({"maps": 0}, "maps: expected 1 or more, found 0"),
        ({"finalists": 0}, "finalists: expected 1 or more, found 0"),
        ({"sample": 0}, "sample: expected 1 or more, found 0"),
        ({"evidence_slices": -1}, "evidence_slices: expected 0 or more, found -1"),
        ({"tolerance": -0.1}, "tolerance: expected 0 or more, found -0.1"),
        ({"resamples": 0}, "resamples: expected 1 or more, found 0"),
        ({"folds": 1}, "folds: expected 2 or more, found 1"),
        (
            {"refinements": [{"margin": 3}]},
            "refinements: expected a refinement 'crf' or 'geodesic' in each, found None",
        ),
        ({"refinements": [{"refinement": "crf", "margin": 3}]}, "parameters: expected some of gaussian_sxy"),
    ],
)
def test_what_cannot_be_tried_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TuningSettings(**given)


def test_a_refinement_keeps_the_map() -> None:
    one = MaskChoice("ltgradcam", ("layer3",), threshold=0.5, options={"percentile": 20})
    refined = TuningSettings().refined(one, 0.4, {"refinement": "geodesic", "margin": 3})
    assert refined.map_name == one.map_name
    assert (refined.threshold, refined.refinement, refined.parameters) == (0.4, "geodesic", {"margin": 3})


def test_refinements_by_name() -> None:
    assert chosen_refinements(["crf", "geodesic"]) == REFINEMENTS
    assert chosen_refinements(["none"]) == ()
    with pytest.raises(ValueError, match="refinements: expected crf, geodesic or none, found snake"):
        chosen_refinements(["snake"])
