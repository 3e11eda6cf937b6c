"""Geodesic distance: time and accuracy of FastGeodis and of the backends of camtools, on the same slices and seeds.

    python benchmarks/geodesic.py                       # 64 synthetic slices of 256 x 256 pixels
    python benchmarks/geodesic.py --volume images/      # volumes of a folder (or one file), slices along the last axis

Every time is the median over the repeats, all slices together. A ratio of 8 means 8 times faster than FastGeodis with
two iterations. The error is that of a distance against the exact one, relative, over all pixels but the seeds.
"""

from __future__ import annotations

import argparse
import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import torch
from timing import median_seconds

from camtools.geodesic import Backend, geodesic_distance

Batch = tuple[torch.Tensor, torch.Tensor]


def synthetic_batch(count: int, size: int) -> Batch:
    """Smooth structures of several sizes with noise, z-scored."""
    generator = torch.Generator().manual_seed(0)
    images = 0.1 * torch.rand(count, 1, size, size, generator=generator)
    for cells in (4, 16):
        structure = torch.rand(count, 1, cells, cells, generator=generator)
        images += torch.nn.functional.interpolate(structure, size=(size, size), mode="bilinear")
    return zscore(images), seeds_for(images)


def volume_batches(path: Path, limit: int) -> list[Batch]:
    """One batch per volume, slices that show something only."""
    import nibabel as nib  # only volumes need it: a machine with a GPU may have little more than torch

    files = sorted(path.rglob("*.nii*")) if path.is_dir() else [path]
    batches = []
    for file in [file for file in files if "label" not in file.name and "mask" not in str(file.parent)][:limit]:
        volume = np.asanyarray(nib.load(file).dataobj).astype(np.float32)
        images = torch.from_numpy(volume).permute(2, 0, 1)[:, None].contiguous()
        images = images[images.flatten(1).std(1) > 0]
        if len(images):
            batches.append((zscore(images), seeds_for(images)))
    if not batches:
        raise SystemExit(f"expected NIfTI volumes (.nii, .nii.gz) under {path}, found none")
    return batches


def zscore(images: torch.Tensor) -> torch.Tensor:
    deviation, mean = torch.std_mean(images, dim=(1, 2, 3), keepdim=True)
    return (images - mean) / deviation


def seeds_for(images: torch.Tensor) -> torch.Tensor:
    """The centre of even slices, four pixels near the corners of odd ones: a foreground and a background seed."""
    height, width = images.shape[2:]
    seeds = torch.zeros(len(images), 1, height, width, dtype=torch.bool)
    seeds[::2, :, height // 2, width // 2] = True
    for row in (height // 12, height - 1 - height // 12):
        seeds[1::2, :, row, [width // 12, width - 1 - width // 12]] = True
    return seeds


def distances(batches: list[Batch], backend: Backend, passes: int | None) -> list[torch.Tensor]:
    return [geodesic_distance(images, seeds, passes=passes, backend=backend) for images, seeds in batches]


def print_times(batches: list[Batch], repeats: int) -> None:
    rows: list[tuple[Backend, int | None, str]] = [("fastgeodis", 2, "cpu"), ("fastgeodis", 8, "cpu")]
    rows += [("numba", 2, "cpu"), ("numba", 8, "cpu"), ("numba", None, "cpu"), ("torch", 2, "cpu")]
    if torch.cuda.is_available():
        rows += [("triton", 2, "cuda"), ("triton", None, "cuda"), ("torch", 2, "cuda"), ("torch", None, "cuda")]
    baseline = None
    print(f"{'backend':<11} {'device':<6} {'passes':>6} {'median ms':>10} {'ratio':>7}")
    for backend, passes, device in rows:
        if not installed(backend):
            continue
        moved = [(images.to(device), seeds.to(device)) for images, seeds in batches]
        spent = 1000 * median_seconds(partial(distances, moved, backend, passes), torch.device(device), repeats)
        baseline = spent if baseline is None and backend == "fastgeodis" else baseline
        ratio = "-" if baseline is None else f"{baseline / spent:.1f}"
        print(f"{backend:<11} {device:<6} {passes or 'exact':>6} {spent:>10.1f} {ratio:>7}")


def print_errors(batches: list[Batch]) -> None:
    exact = distances(batches, "auto", None)
    print(f"\n{'backend':<11} {'passes':>6} {'mean error':>11} {'largest':>8}")
    rows: list[tuple[Backend, int | None]] = [("fastgeodis", 1), ("fastgeodis", 2), ("fastgeodis", 8)]
    for backend, passes in [*rows, ("numba", 8), ("numba", None)]:
        if not installed(backend):
            continue
        found = distances(batches, backend, passes)
        errors = torch.cat([(a - b)[b > 0] / b[b > 0] for a, b in zip(found, exact, strict=True)])
        print(f"{backend:<11} {passes or 'exact':>6} {100 * errors.mean():>10.3f}% {100 * errors.max():>7.1f}%")


def installed(backend: str) -> bool:
    return importlib.util.find_spec("FastGeodis" if backend == "fastgeodis" else backend) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volume", type=Path, help="a NIfTI file or a folder of them, instead of synthetic slices")
    parser.add_argument("--limit", type=int, default=5, help="volumes to take from a folder")
    parser.add_argument("--slices", type=int, default=64, help="synthetic slices")
    parser.add_argument("--size", type=int, default=256, help="side of a synthetic slice in pixels")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads for every backend")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.volume is None:
        batches = [synthetic_batch(arguments.slices, arguments.size)]
    else:
        batches = volume_batches(arguments.volume, arguments.limit)
    shapes = ", ".join(str(tuple(images.shape)) for images, _ in batches)
    print(f"slices: {shapes}; {arguments.threads} CPU threads; {arguments.repeats} repeats\n")
    print_times(batches, arguments.repeats)
    print_errors(batches)


if __name__ == "__main__":
    main()
