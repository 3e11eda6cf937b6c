"""Who computes in half precision: the decision, and every part of the package that asks for it."""

from __future__ import annotations

import logging
import platform
from types import SimpleNamespace

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from monai.networks.nets import BasicUNet

from camtools import precision
from camtools.cams import GradCAM, PatchClassMaps
from camtools.networks import VGG16CAM, ResNet38
from camtools.patches import PatchGrid
from camtools.transforms import ActivationMapsd, PatchClassMapsd, PredictVolumed
from tests.conftest import oblique_affine

SLICES = SliceInferer(roi_size=(-1, -1), spatial_dim=2, sw_batch_size=2)


@pytest.fixture
def volume() -> MetaTensor:
    torch.manual_seed(0)
    return MetaTensor(torch.rand(1, 32, 48, 3), affine=oblique_affine())


def u_net() -> BasicUNet:
    torch.manual_seed(0)
    return BasicUNet(2, 1, 2, features=(4, 4, 8, 8, 8, 4))


def types_of_convolutions(network: torch.nn.Module) -> set[torch.dtype]:
    """Filled by the passes to come."""
    seen: set[torch.dtype] = set()
    convolution = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    convolution.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    return seen


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_said", set())


@pytest.fixture(params=[True, False], ids=["with instructions", "without"])
def instructions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A processor that computes bfloat16, and one that does not."""
    monkeypatch.setattr(precision, "computes_in", lambda dtype, device: request.param)
    return bool(request.param)


def expected_types(instructions: bool) -> set[torch.dtype]:
    """Of a float32 pass and one in mixed precision."""
    if instructions:
        return {torch.float32, torch.bfloat16}
    return {torch.float32}


def processor(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, fp16: bool, avx512_bf16: bool, amx: bool, machine: str
) -> None:
    """A processor as torch describes it."""
    found = {"_is_mkldnn_bf16_supported": lambda: bf16, "_is_mkldnn_fp16_supported": lambda: fp16}
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(**found))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(platform, "machine", lambda: machine)


@pytest.mark.parametrize(
    ("bf16", "avx512_bf16", "amx", "machine", "expected"),
    [
        (False, False, False, "x86_64", False),  # AVX2
        (True, False, False, "x86_64", False),  # AVX-512 alone: torch's own call says yes
        (True, False, False, "AMD64", False),
        (True, True, False, "x86_64", True),
        (True, False, True, "AMD64", True),
        (True, False, False, "aarch64", True),
        (False, False, False, "arm64", False),
    ],
)
def test_processors_compute_bfloat16_only_with_its_instructions(
    bf16: bool, avx512_bf16: bool, amx: bool, machine: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, bf16, False, avx512_bf16, amx, machine)
    assert precision.computes_in(torch.bfloat16, "cpu") is expected
    assert not precision.computes_in(torch.float16, "cpu")
    assert precision.computes_in(torch.float32, "cpu")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not precision.computes_in(torch.bfloat16, "cpu")


def test_processors_with_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, True, True, False, False, "x86_64")
    assert precision.computes_in(torch.float16, "cpu")
    assert not precision.computes_in(torch.bfloat16, "cpu")


@pytest.mark.parametrize("supported", [True, False])
def test_gpus_compute_bfloat16_only_in_hardware(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []

    class Current:
        def __init__(self, device: torch.device) -> None:
            asked.append(device)

        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(torch.cuda, "device", Current)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or supported)
    assert precision.computes_in(torch.bfloat16, "cuda:1") is supported
    assert asked == [torch.device("cuda:1")]
    assert precision.computes_in(torch.float16, "cuda:1")
    assert not precision.computes_in(torch.bfloat16, "mps")


def test_float32_instead_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    processor(monkeypatch, False, False, False, False, "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    monkeypatch.setattr(precision, "_gpu_computes_bfloat16", lambda device: False)
    with caplog.at_level(logging.WARNING, logger="camtools"):
        for _ in range(3):
            assert precision.usable_dtype(torch.bfloat16, "cpu") is None
        assert precision.usable_dtype(torch.bfloat16, "cuda") is None
        assert precision.usable_dtype(torch.float16, "meta") is None
    lost = "has no instructions for it and would be several times slower. Computing in float32 instead."
    assert caplog.messages == [
        f"bfloat16 was asked for, but this processor (x86_64, AVX2) {lost}",
        f"bfloat16 was asked for, but the GPU Old GPU {lost}",
        f"float16 was asked for, but the device meta {lost}",
    ]


def product(enabled: bool) -> torch.dtype:
    with precision.mixed_precision(torch.device("cpu"), enabled):
        return torch.ones(2, 2).mm(torch.ones(2, 2)).dtype


def test_nothing_is_said_where_nothing_was_asked(instructions: bool, caplog: pytest.LogCaptureFixture) -> None:
    assert product(enabled=False) == torch.float32
    assert not caplog.messages
    assert {product(enabled=True), torch.float32} == expected_types(instructions)
    assert len(caplog.messages) == int(not instructions)


def test_prediction_in_mixed_precision(volume: MetaTensor, instructions: bool) -> None:
    network = u_net()
    seen = types_of_convolutions(network)
    plain = PredictVolumed(network, SLICES)({"image": volume})["pred"]
    half = PredictVolumed(network, SLICES, amp=True)({"image": volume})["pred"]
    assert seen == expected_types(instructions)
    assert half.dtype == torch.float32
    assert torch.equal(half, plain) != instructions
    assert (half - plain).norm() < 0.05 * plain.norm()


def test_activation_maps_in_mixed_precision(volume: MetaTensor, instructions: bool) -> None:
    torch.manual_seed(0)
    network = VGG16CAM(width=0.0625, norm="batch").eval()
    seen = types_of_convolutions(network)
    cam = GradCAM(network, network.cam_layers)
    plain = ActivationMapsd(cam)({"image": volume})["maps"]
    half = ActivationMapsd(cam, amp=True)({"image": volume})["maps"]
    assert seen == expected_types(instructions)
    assert half.dtype == torch.float32
    assert (half - plain).norm() < 0.1 * plain.norm()


def test_class_maps_of_patches_in_mixed_precision(volume: MetaTensor, instructions: bool) -> None:
    torch.manual_seed(0)
    network = ResNet38(in_channels=1, width=0.02, norm="group")
    seen = types_of_convolutions(network)
    maps = PatchClassMaps(network, PatchGrid(16, 8), scales=(1.0,), input_size=24)
    plain = PatchClassMapsd(maps)({"image": volume})["cam"]
    half = PatchClassMapsd(maps, amp=True)({"image": volume})["cam"]
    assert seen == expected_types(instructions)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.as_tensor(), plain.as_tensor(), atol=0.05, rtol=0)
