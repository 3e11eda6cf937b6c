"""Which maps are tried."""

from __future__ import annotations

import pytest

from camtools.tuning import DEFAULT_METHODS, METHODS, MaskChoice, default_choice, middle_layer
from camtools.tuning.methods import checked_methods, map_choices, method_name
from tests.cam_classifiers import one_logit_network, tiny_network


def test_layers_and_fusions_of_a_method() -> None:
    network = one_logit_network()
    one, two, three, four = network.cam_layers
    found = [(choice.layers, choice.fusion) for choice in map_choices("gradcam", network)]
    pairs = [(one, two), (two, three), (three, four)]
    expected = [((stage,), "mean") for stage in network.cam_layers]
    expected += [(pair, fusion) for fusion in ("mean", "geometric_mean") for pair in pairs]
    names = ("mean", "geometric_mean", "uncertainty_weighted_mean", "layer_sum")
    assert found == expected + [((one, two, three, four), fusion) for fusion in names]
    summed = [(choice.layers, choice.fusion) for choice in map_choices("ltgradcam", network)]
    assert summed == [*expected[:4], ((one, two, three, four), "layer_sum")]
    assert [choice.layers for choice in map_choices("cam", network)] == [(four,)]
    assert [choice.layers for choice in map_choices("fullgrad", network)] == [()]


def test_every_map_has_its_method_back() -> None:
    network = tiny_network()
    for name in METHODS:
        for choice in map_choices(name, network):
            assert method_name(choice) == name
    assert method_name(MaskChoice("ltgradcam", ("x",), options={"percentile": 33})) == "ltgradcam-0"


def test_slow_methods_are_tried_only_if_asked() -> None:
    assert set(METHODS) - set(DEFAULT_METHODS) == {"scorecam", "ablationcam", "cfdcam", "cfdcam-ss"}
    assert checked_methods(["cfdcam", "gradcam", "cfdcam"]) == ["cfdcam", "gradcam"]


def test_the_default_is_the_middle_of_the_network() -> None:
    network = tiny_network()
    assert middle_layer(network) == network.cam_layers[2]
    choice = default_choice(network)
    assert (choice.method, choice.layers) == ("layercam", (network.cam_layers[2],))
    assert (choice.threshold, choice.refinement, choice.parameters) == ("otsu", "crf", {})
    network.cam_layers = []
    with pytest.raises(ValueError, match="Expected cam_layers, the names of the stages"):
        middle_layer(network)
