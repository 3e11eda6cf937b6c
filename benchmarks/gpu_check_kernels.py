"""Checks of ``gpu_check.py``: geodesic distances and the dense CRF on the device, against the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import crf
import geodesic
import torch
from gpu_check_machine import Machine
from gpu_check_table import Row, at_least, at_most, measured, skipped
from timing import median_seconds
from torch import Tensor

from camtools.crf import dense_crf
from camtools.geodesic import geodesic_distance, torch_sweep

CPU = torch.device("cpu")
REPEATS = 3
DISTANCE_LIMIT = 1e-4  # of z-scored intensities; distances are sums of a few hundred differences
LABEL_LIMIT = 99.9  # per cent: a pixel on the edge of two labels may fall to either side


def geodesic_rows(machine: Machine) -> Iterator[Row]:
    """Every backend on the device: the same distances as numba on the CPU, and the time."""
    images, seeds = geodesic.synthetic_batch(*((64, 256) if machine.full else (2, 12)))
    exact = partial(geodesic_distance, images, seeds, backend="numba")
    reference = 1000 * median_seconds(exact, CPU, REPEATS) / len(images)
    for backend in ("triton", "torch", "fastgeodis"):
        reason = missing(backend, machine)
        if reason:
            yield skipped(f"geodesic distance, {backend}", reason)
            continue
        for passes in (2, None) if backend != "fastgeodis" else (2,):
            what = f"geodesic distance, {backend}, {f'{passes} passes' if passes else 'exact'}"
            expected = geodesic_distance(images, seeds, passes=passes, backend="numba")
            run = partial(distance, backend, images.to(machine.device), seeds.to(machine.device), passes)
            difference = (run().cpu() - expected).abs().max().item()
            yield at_most(f"{what}: difference from the CPU", difference, "", DISTANCE_LIMIT)
            if backend == "triton" and not machine.full:
                yield skipped(what, "the time of Triton's interpreter says nothing")
                continue
            spent = 1000 * median_seconds(run, machine.device, REPEATS) / len(images)
            yield measured(what, spent, "ms a slice", f"{reference:.3g} with numba on the CPU, exact")


def distance(backend: geodesic.Backend, images: Tensor, seeds: Tensor, passes: int | None) -> Tensor:
    """The distance by a backend; Triton's interpreter also takes tensors on the CPU, which camtools does not allow."""
    if backend == "triton" and images.device.type == "cpu":
        from camtools.geodesic.triton_sweep import sweep_down_up

        return torch_sweep.solve(images, seeds[:, 0], passes, sweep_down_up)[:, None]
    return geodesic_distance(images, seeds, passes=passes, backend=backend)


def missing(backend: str, machine: Machine) -> str:
    """Why a backend cannot run on the device; empty if it can."""
    if not geodesic.installed(backend):
        return "not installed"
    if backend != "fastgeodis" or not machine.full:
        return ""
    import FastGeodis

    image = torch.rand(1, 1, 8, 8, device=machine.device)
    try:
        FastGeodis.generalised_geodesic2d(image, image, 1.0, 1.0, 1)
    except RuntimeError as error:
        if "Not compiled with CUDA" in str(error):
            return "built without CUDA; build it with nvcc and FORCE_CUDA=1"
        raise
    return ""


def crf_rows(machine: Machine) -> Iterator[Row]:
    """The torch CRF on the device: the labels of the CPU, and the time. On a CPU: against pydensecrf."""
    backend = "torch" if machine.full else "pydensecrf"
    count, size = (32, 240) if machine.full else (2, 64)
    for channels in (1, 3):
        what = f"dense CRF, torch, {channels} channel{'s' if channels > 1 else ''}"
        batch = crf.batch(count, channels, size)
        expected_run = partial(dense_crf, *batch, backend=backend)
        reference = 1000 * median_seconds(expected_run, CPU, 1) / count
        run = partial(dense_crf, *(tensor.to(machine.device) for tensor in batch), backend="torch")
        same = (run().argmax(1).cpu() == expected_run().argmax(1)).float().mean().item()
        yield at_least(f"{what}: labels equal to {backend} on the CPU", 100 * same, "%", LABEL_LIMIT)
        spent = 1000 * median_seconds(run, machine.device, REPEATS) / count
        yield measured(what, spent, "ms a slice", f"{reference:.3g} with {backend} on the CPU")
