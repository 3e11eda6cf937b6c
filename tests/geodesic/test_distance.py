from __future__ import annotations

import importlib.util
import itertools
import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from camtools.geodesic import geodesic_distance, torch_sweep
from camtools.geodesic.distance import resolve_backend
from tests.reference.geodesic import reference_geodesic_distance

HAS_FASTGEODIS = importlib.util.find_spec("FastGeodis") is not None
needs_fastgeodis = pytest.mark.skipif(not HAS_FASTGEODIS, reason="FastGeodis is not installed")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CPU_BACKENDS = ["numba", "torch", pytest.param("fastgeodis", marks=needs_fastgeodis)]
SHAPES = [(3, 1, 17, 23), (2, 3, 24, 9), (2, 1, 1, 7), (2, 2, 7, 1), (1, 1, 1, 1), (2, 1, 14, 14)]


def slices(shape: tuple[int, int, int, int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy ramps and, in each slice, one to three seeds."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(shape, generator=generator) + 0.05 * torch.arange(shape[3])
    seeds = torch.zeros(shape[0], shape[2] * shape[3], dtype=torch.bool)
    for index in range(shape[0]):
        seeds[index, torch.randint(seeds.shape[1], (1 + index,), generator=generator)] = True
    return images, seeds.reshape(shape[0], 1, *shape[2:])


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_distance_by_hand(backend):
    images = torch.tensor([[[[0.0, 9.0, 0.0], [1.0, 9.0, 2.0], [9.0, 1.5, 9.0]]]])
    seeds = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    seeds[0, 0, 0, 0] = True
    # The cheapest way round the wall of nines is 0, 1, 1.5, 2, back up to 0: costs 1, 0.5, 0.5, 2.
    expected = [[0.0, 9.0, 4.0], [1.0, 9.0, 2.0], [9.0, 1.5, 9.0]]
    assert geodesic_distance(images, seeds, backend=backend)[0, 0].tolist() == expected


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_exact_distance_matches_dijkstra(backend, shape):
    images, seeds = slices(shape)
    expected = torch.stack([reference_geodesic_distance(i, s[0])[None] for i, s in zip(images, seeds, strict=True)])
    distance = geodesic_distance(images, seeds, backend=backend)
    assert distance.dtype == torch.float32
    torch.testing.assert_close(distance, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_distance_along_a_spiral_is_exact(backend):
    """A flat corridor that winds inwards needs many passes."""
    images = torch.ones(1, 1, 21, 21)
    row, column, heading = 0, 0, [(0, 1), (1, 0), (0, -1), (-1, 0)]
    images[0, 0, 0, 0] = 0
    for turn, length in enumerate([20, 20, 20, 18, 18, 16, 16, 14, 14, 12, 12, 10, 10, 8, 8, 6, 6, 4, 4, 2, 2]):
        for _ in range(length):
            row, column = row + heading[turn % 4][0], column + heading[turn % 4][1]
            images[0, 0, row, column] = 0
    seeds = torch.zeros(1, 1, 21, 21, dtype=torch.bool)
    seeds[0, 0, 0, 0] = True
    distance = geodesic_distance(images, seeds, backend=backend)
    assert torch.equal(distance, images)
    assert geodesic_distance(images, seeds, passes=1, backend=backend).gt(distance).any()


@pytest.mark.parametrize("passes", [1, 2, 8])
@pytest.mark.parametrize("backend", ["numba", "torch"])
@needs_fastgeodis
def test_equal_passes_equal_fastgeodis(backend, passes):
    import FastGeodis

    for shape in [(3, 1, 65, 70), (2, 3, 40, 51)]:
        images, seeds = slices(shape, seed=passes)
        expected = [
            FastGeodis.generalised_geodesic2d(i[None].contiguous(), 1 - s[None].float(), 1e10, 1.0, passes)
            for i, s in zip(images, seeds, strict=True)
        ]
        ours = geodesic_distance(images, seeds, passes=passes, backend=backend)
        torch.testing.assert_close(ours, torch.cat(expected), rtol=1e-6, atol=1e-6)
        via_backend = geodesic_distance(images, seeds, passes=passes, backend="fastgeodis")
        assert torch.equal(via_backend, torch.cat(expected))


@pytest.mark.parametrize("passes", [1, 3])
def test_torch_equals_numba(passes):
    images, seeds = slices((4, 2, 33, 29), seed=3)
    numba = geodesic_distance(images, seeds, passes=passes, backend="numba")
    torch.testing.assert_close(geodesic_distance(images, seeds, passes=passes, backend="torch"), numba)


def test_more_passes_never_raise_the_distance():
    images, seeds = slices((2, 1, 60, 60), seed=4)
    distances = [geodesic_distance(images, seeds, passes=passes) for passes in (1, 2, 4)] + [
        geodesic_distance(images, seeds)
    ]
    assert all((later <= earlier).all() for earlier, later in itertools.pairwise(distances))
    assert (distances[0] > distances[-1]).any()
    assert torch.equal(geodesic_distance(images, seeds, passes=1000), distances[-1])


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_batched_equals_single(backend):
    images, seeds = slices((4, 2, 19, 21), seed=5)
    batched = geodesic_distance(images, seeds, backend=backend)
    single = [geodesic_distance(images[i : i + 1], seeds[i : i + 1], backend=backend) for i in range(4)]
    assert torch.equal(batched, torch.cat(single))


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_arguments_are_left_alone(backend):
    images, seeds = slices((2, 1, 9, 12), seed=6)
    images.requires_grad_()
    before = images.detach().clone(), seeds.clone()
    distance = geodesic_distance(images, seeds, backend=backend)
    assert torch.equal(images, before[0])
    assert torch.equal(seeds, before[1])
    assert not distance.requires_grad


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int16])
def test_other_number_types(backend, dtype):
    images, seeds = slices((1, 1, 9, 9), seed=8)
    images = (images * 16).round().to(dtype)
    expected = geodesic_distance(images.float(), seeds)
    torch.testing.assert_close(geodesic_distance(images, seeds, backend=backend), expected)


def test_non_contiguous_and_empty_batches():
    images, seeds = slices((2, 3, 12, 15), seed=9)
    expected = geodesic_distance(images, seeds)
    strided = images.to(memory_format=torch.channels_last)
    assert torch.equal(geodesic_distance(strided, seeds), expected)
    turned = geodesic_distance(images.transpose(2, 3), seeds.transpose(2, 3))
    torch.testing.assert_close(turned, expected.transpose(2, 3))
    for backend in ("numba", "torch"):
        assert geodesic_distance(images[:0], seeds[:0], backend=backend).shape == (0, 1, 12, 15)


def test_numba_from_several_threads():
    images, seeds = slices((3, 1, 40, 40), seed=10)
    expected = geodesic_distance(images, seeds, backend="numba")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: geodesic_distance(images, seeds, backend="numba"), range(8)))
    assert all(torch.equal(result, expected) for result in results)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system cannot fork")
def test_numba_after_a_fork():
    """Data-loader workers are forked from a process that may have computed distances already."""
    images, seeds = slices((2, 1, 20, 20), seed=11)
    expected = geodesic_distance(images, seeds, backend="numba")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        forked = pool.apply_async(_distance_as_list, (images.tolist(), seeds.tolist())).get(timeout=60)
    assert forked == expected.tolist()


def _distance_as_list(images: list[float], seeds: list[bool]) -> list[float]:
    return geodesic_distance(torch.tensor(images), torch.tensor(seeds), backend="numba").tolist()


def test_automatic_backend():
    assert resolve_backend("auto", torch.device("cpu")) == "numba"
    assert resolve_backend("auto", torch.device("mps")) == "torch"


def test_automatic_backend_without_numba_and_triton(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert resolve_backend("auto", torch.device("cpu")) == "torch"
    assert resolve_backend("auto", torch.device("cuda")) == "torch"
    with pytest.raises(ImportError, match="backend 'fastgeodis' is not installed; .*--no-build-isolation FastGeodis"):
        resolve_backend("fastgeodis", torch.device("cpu"))
    with pytest.raises(ImportError, match="backend 'numba' is not installed; install it with `pip install numba`"):
        resolve_backend("numba", torch.device("cpu"))


def test_torch_sweep_needs_no_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "camtools.geodesic.numba_sweep", raising=False)
    images, seeds = slices((1, 1, 5, 5))
    assert geodesic_distance(images, seeds, backend="torch").isfinite().all()


def test_image_errors():
    images, seeds = slices((3, 1, 6, 6))
    with pytest.raises(ValueError, match=r"expected images of shape \(B, C, H, W\), found \(1, 6, 6\)"):
        geodesic_distance(images[0], seeds)
    images[1, 0, 2, 2] = torch.nan
    images[2, 0, 0, 0] = -torch.inf
    with pytest.raises(ValueError, match=r"finite images, found NaN or infinity at batch index \[1, 2\]"):
        geodesic_distance(images, seeds)


def test_seed_errors():
    images, seeds = slices((3, 1, 6, 6))
    with pytest.raises(TypeError, match=r"expected a boolean seed_mask, found torch.float32; pass `seed_mask > 0`"):
        geodesic_distance(images, seeds.float())
    with pytest.raises(ValueError, match=r"expected seed_mask of shape \(3, 1, 6, 6\).*found \(3, 6, 6\)"):
        geodesic_distance(images, seeds[:, 0])
    with pytest.raises(ValueError, match="expected seed_mask on cpu like images, found meta"):
        geodesic_distance(images, seeds.to("meta"))
    seeds[0] = seeds[2] = False
    with pytest.raises(ValueError, match=r"at least one seed in each slice, found none at batch index \[0, 2\]"):
        geodesic_distance(images, seeds)


def test_option_errors():
    images, seeds = slices((1, 1, 6, 6))
    for passes in (0, -3, 2.0):
        with pytest.raises(ValueError, match=f"expected passes to be an integer >= 1, or None .*, found {passes}"):
            geodesic_distance(images, seeds, passes=passes)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match="expected backend to be one of auto, fastgeodis, numba, triton, torch, found 'cu"
    ):
        geodesic_distance(images, seeds, backend="cupy")  # type: ignore[arg-type]


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_triton_refuses_cpu_tensors():
    images, seeds = slices((1, 1, 6, 6))
    with pytest.raises(ValueError, match="expected CUDA tensors for backend 'triton', found cpu; move them or choose"):
        geodesic_distance(images, seeds, backend="triton")


@needs_cuda
@pytest.mark.parametrize("backend", ["triton", "torch", "auto"])
@pytest.mark.parametrize("shape", [*SHAPES, (3, 1, 70, 300), (2, 3, 257, 64)])
def test_cuda_backends_match_the_cpu(backend, shape):
    if backend == "triton":
        pytest.importorskip("triton")
    images, seeds = slices(shape, seed=12)
    for passes in (1, 2, None):
        expected = geodesic_distance(images, seeds, passes=passes)
        distance = geodesic_distance(images.cuda(), seeds.cuda(), passes=passes, backend=backend)
        assert distance.is_cuda
        torch.testing.assert_close(distance.cpu(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 2, 3, 5), (1, 1, 4, 1), (1, 1, 1, 5)])
def test_triton_kernel_interpreted(shape, monkeypatch):
    """The kernel's arithmetic without a GPU: triton's interpreter runs it on the CPU."""
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    spec = importlib.util.find_spec("camtools.geodesic.triton_sweep")
    interpreted = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(interpreted)
    images, seeds = slices(shape, seed=13)
    for passes in (1, None):
        expected = geodesic_distance(images, seeds, passes=passes)[:, 0]
        distance = torch_sweep.solve(images, seeds[:, 0], passes, interpreted.sweep_down_up)
        torch.testing.assert_close(distance, expected, rtol=1e-6, atol=1e-6)
