"""The dense CRF: every backend close to exact mean field, parameters, types and errors."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from camtools.crf import DenseCRF, dense_crf, torch_backend
from tests.crf_slices import agreement, structured_slices
from tests.reference.dense_crf import reference_dense_crf

HAS_PYDENSECRF = importlib.util.find_spec("pydensecrf") is not None


needs_pydensecrf = pytest.mark.skipif(not HAS_PYDENSECRF, reason="pydensecrf is not installed")


BACKENDS = ["torch", pytest.param("pydensecrf", marks=needs_pydensecrf)]


def square(height: int = 24, width: int = 20) -> torch.Tensor:
    image = torch.full((1, 1, height, width), 0.2)
    image[..., 6:16, 5:14] = 0.8
    return image


@pytest.mark.parametrize(
    ("shape", "least"),
    [((1, 1, 11, 9), 0.97), ((1, 3, 8, 12), 0.97), ((1, 4, 7, 9), 0.94)],  # the lattice is coarse in six dimensions
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_marginals_are_close_to_exact_mean_field(backend, shape, least):
    images, probability = structured_slices(shape, seed=3)
    expected = reference_dense_crf(images[0], probability[0, 0])[None]
    marginals = dense_crf(images, probability, backend=backend)
    assert marginals.dtype == torch.float32
    assert agreement(marginals, expected) >= least
    assert (marginals - expected).abs().mean() < 1 - least


@pytest.mark.parametrize("backend", BACKENDS)
def test_parameters_reach_the_kernels(backend):
    images, probability = structured_slices((1, 1, 10, 10), seed=1)
    widths = {"gaussian_sxy": 2.0, "bilateral_sxy": 4.0, "bilateral_srgb": 40.0}
    weights = {"gaussian_compat": 0.5, "bilateral_compat": 1.5}
    marginals = dense_crf(images, probability, **widths, **weights, iterations=2, backend=backend)
    expected = reference_dense_crf(images[0], probability[0, 0], (2.0, 0.5), (4.0, 40.0, 1.5), iterations=2)[None]
    assert (marginals - expected).abs().max() < 0.08
    for name, value in (widths | weights | {"iterations": 2}).items():
        changed = widths | weights | {"iterations": 2} | {name: 2 * value}
        other = dense_crf(images, probability, **changed, backend=backend)
        assert (other - marginals).abs().max() > 0.01, f"{name} changes nothing"


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_weights_the_unary_is_left(backend):
    images, probability = structured_slices((1, 1, 6, 7))
    probability[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    marginals = dense_crf(images, probability, gaussian_compat=0, bilateral_compat=0, backend=backend)
    torch.testing.assert_close(marginals[:, 1:], probability, atol=2e-5, rtol=0)
    torch.testing.assert_close(marginals.sum(1), torch.ones(1, 6, 7))


@pytest.mark.parametrize("backend", BACKENDS)
def test_uniform_image_smooths_the_labels(backend):
    probability = torch.full((1, 1, 16, 16), 0.3)
    probability[..., 4, 4] = 0.9
    marginals = dense_crf(torch.full((1, 1, 16, 16), 0.5), probability, backend=backend)
    assert (marginals[:, 1] < 0.5).all()
    assert (marginals[:, 1, 4, 4] < 0.1).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("backend", BACKENDS)
def test_square_is_recovered_from_a_noisy_map(backend, channels):
    image = square()
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    probability = (image + 0.8 * noise).clamp(0, 1)
    assert not torch.equal(probability > 0.5, image > 0.5)
    marginals = dense_crf(image.repeat(1, channels, 1, 1), probability, backend=backend)
    assert torch.equal(marginals[:, 1:] > 0.5, image > 0.5)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("backend", BACKENDS)
def test_one_channel_stands_for_any_number_of_equal_ones(backend, channels):
    images, probability = structured_slices((2, 1, 50, 40))
    grey = dense_crf(images, probability, backend=backend)
    equal = dense_crf(images.repeat(1, channels, 1, 1), probability, backend=backend)
    assert agreement(grey, equal) >= 0.98


def test_every_channel_counts():
    image, probability = square(), 0.3 + 0.4 * square()
    flat = torch.full_like(image, 0.5)
    for place in range(4):
        channels = [flat] * 4
        channels[place] = image
        marginals = dense_crf(torch.cat(channels, dim=1), probability)
        assert torch.equal(marginals[:, 1:] > 0.5, image > 0.5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_equals_single_slices(backend, channels):
    images, probability = structured_slices((3, channels, 19, 26))
    batched = dense_crf(images, probability, backend=backend)
    pairs = zip(images.split(1), probability.split(1), strict=True)
    single = torch.cat([dense_crf(*pair, backend=backend) for pair in pairs])
    torch.testing.assert_close(batched, single, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_types_views_and_inference_mode(backend):
    images, probability = structured_slices((2, 1, 12, 15))
    expected = dense_crf(images.bfloat16().float(), probability.bfloat16().float(), backend=backend)
    turned = [values.bfloat16().movedim(0, -1).contiguous().movedim(-1, 0) for values in (images, probability)]
    with torch.inference_mode():
        assert torch.equal(dense_crf(*turned, backend=backend), expected)
    assert not dense_crf(images, probability.requires_grad_(), backend=backend).requires_grad
    assert dense_crf(images[:0], probability[:0], backend=backend).shape == (0, 2, 12, 15)
    beyond = torch.where(images > 0.5, 1.0005, -0.0005)  # rounding of half precision
    clamped = dense_crf(beyond.clamp(0, 1), probability, backend=backend)
    assert torch.equal(dense_crf(beyond, probability, backend=backend), clamped)


@needs_pydensecrf
def test_auto_is_torch():
    images, probability = structured_slices((2, 1, 12, 15))
    expected = dense_crf(images, probability, backend="torch")
    assert torch.equal(dense_crf(images, probability), expected)
    assert not torch.equal(dense_crf(images, probability, backend="pydensecrf"), expected)


GOOD = torch.full((2, 1, 4, 5), 0.5)


@pytest.mark.parametrize(
    ("images", "probability", "options", "message"),
    [
        (GOOD[0], GOOD, {}, r"expected images of shape \(B, C, H, W\) with one or more channels, found \(1, 4, 5\)"),
        (GOOD[:, :0], GOOD, {}, r"found \(2, 0, 4, 5\); give slices with their channels"),
        (
            GOOD.byte(),
            GOOD,
            {},
            r"expected floating-point images in \[0, 1\], found torch.uint8; divide grey levels by 255",
        ),
        (GOOD, GOOD[:1], {}, r"expected probability of shape \(2, 1, 4, 5\) to match images, found \(1, 1, 4, 5\)"),
        (GOOD / torch.tensor([1.0, 0.0])[:, None, None, None], GOOD, {}, r"found NaN or infinity at batch index \[1\]"),
        (GOOD, GOOD * torch.nan, {}, r"expected probability in \[0, 1\], found other values at batch index \[0, 1\]"),
        (GOOD, GOOD + 0.6, {}, r"found other values at batch index \[0, 1\]; scale the maps first"),
        (GOOD, GOOD - 0.6, {}, r"expected probability in \[0, 1\]"),
        (GOOD, GOOD, {"backend": "numba"}, "expected backend to be one of auto, pydensecrf, torch, found 'numba'"),
        (GOOD, GOOD, {"gaussian_sxy": 0}, "expected gaussian_sxy to be finite and > 0, found 0"),
        (GOOD, GOOD, {"bilateral_srgb": float("nan")}, "expected bilateral_srgb to be finite and > 0, found nan"),
        (GOOD - 2.5, GOOD, {}, r"expected images in \[0, 1\], found values from -2 .* scale the slices first"),
        (GOOD, GOOD, {"bilateral_compat": -1}, "expected bilateral_compat to be finite and >= 0, found -1"),
        (GOOD, GOOD, {"iterations": 0}, "expected iterations to be an integer >= 1, found 0"),
        (GOOD, GOOD, {"iterations": 2.5}, "expected iterations to be an integer >= 1, found 2.5"),
    ],
)
def test_errors_say_what_is_wrong(images, probability, options, message):
    with pytest.raises(ValueError, match=message):
        dense_crf(images, probability, **{"backend": "torch"} | options)


@pytest.mark.parametrize("options", [{"bilateral_sxy": -1.0}, {"iterations": 0}, {"backend": "gpu"}])
def test_configured_crf_refuses_parameters_when_it_is_made(options):
    with pytest.raises(ValueError, match=f"expected {next(iter(options))} to be"):
        DenseCRF(**options)


def test_faint_maps_are_pure_background_and_never_refined(monkeypatch):
    images, maps = structured_slices((3, 1, 14, 18))
    maps[1] = 0.19 * maps[1] / maps[1].max()
    maps[1, 0, 0, 0] = 0.0
    refined = []
    solve = torch_backend.solve

    def spy(images, logits, crf):
        refined.append(len(images))
        return solve(images, logits, crf)

    monkeypatch.setattr(torch_backend, "solve", spy)
    marginals = DenseCRF()(images, maps)
    assert refined == [2]
    assert (marginals[1, 0] == 1).all()
    assert (marginals[1, 1] == 0).all()
    expected = dense_crf(images, maps)
    torch.testing.assert_close(marginals[[0, 2]], expected[[0, 2]], atol=1e-5, rtol=0)
    torch.testing.assert_close(DenseCRF(empty_below=None)(images, maps), expected, atol=1e-5, rtol=0)
    maps[1, 0, 0, 1] = 0.21
    assert DenseCRF()(images, maps)[1, 1].max() > 0
    refined.clear()
    assert DenseCRF()(images, torch.zeros_like(maps))[:, 0].eq(1).all()
    assert not refined


def test_configured_crf_passes_its_parameters_on():
    images, maps = structured_slices((1, 1, 14, 18))
    options = {"gaussian_sxy": 2, "gaussian_compat": 1, "bilateral_sxy": 5, "bilateral_srgb": 20, "bilateral_compat": 4}
    marginals = DenseCRF(**options, iterations=3, backend="torch")(images, maps)
    assert torch.equal(marginals, dense_crf(images, maps, **options, iterations=3, backend="torch"))
    with pytest.raises(ValueError, match="expected probability of shape"):
        DenseCRF(backend="torch")(images, maps[..., 1:])
