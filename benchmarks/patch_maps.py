"""Time of OEEM's class maps of a whole image, against the usual loop over patches and the bare forward passes.

One image of GlaS's size, 117 patches at five scales, ResNet-38::

    python benchmarks/patch_maps.py                          # CPU, all threads
    python benchmarks/patch_maps.py --device cuda --width 1
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from timing import interleaved_seconds
from torch import Tensor
from torch.nn import functional as F

from camtools.cams import PatchClassMaps
from camtools.networks import ResNet38
from camtools.patches import PatchGrid
from camtools.process import reuse_memory


def patch_by_patch(maps: PatchClassMaps, image: Tensor) -> np.ndarray:
    """The usual loop: each patch and scale by itself, sums of NumPy arrays."""
    height, width = image.shape[2:]
    total, count = np.zeros((2, height, width)), np.zeros((1, height, width))
    side = maps.grid.size
    for row, column in maps.grid.corners(height, width):
        patch = image[:, :, row : row + side, column : column + side]
        scores = np.zeros((2, side, side))
        for scale in maps.scales:
            size = round(maps.input_size * scale)
            with torch.no_grad():
                found = maps.network.class_maps(F.interpolate(patch, size=(size, size), mode="bilinear"))  # type: ignore[operator]
            scores += F.interpolate(found, size=(side, side), mode="bilinear")[0].float().cpu().numpy()
        shares = np.exp(scores / len(maps.scales))
        total[:, row : row + side, column : column + side] += shares / shares.sum(axis=0)
        count[:, row : row + side, column : column + side] += 1
    return total / count


def forward_passes(maps: PatchClassMaps, image: Tensor, patches: int) -> None:
    """The floor: the same patches through the network, in the same passes, and nothing else."""
    for scale in maps.scales:
        size = round(maps.input_size * scale)
        batch = torch.rand(patches, 3, size, size, device=image.device).contiguous(memory_format=torch.channels_last)
        chunk = max(1, 16 * 256 * 256 // size**2) if image.device.type == "cpu" else len(batch)
        with torch.no_grad():
            for part in batch.split(chunk):
                maps.network(part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--width", type=float, default=0.125, help="of ResNet-38")
    parser.add_argument("--input-size", type=int, default=112, help="pixels; the paper has 224")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    reuse_memory()
    torch.manual_seed(0)
    network = ResNet38(width=options.width).eval().to(options.device)
    image = torch.rand(1, 3, 522, 775, device=options.device)
    maps = PatchClassMaps(network, PatchGrid(), input_size=options.input_size)
    patches = len(maps.grid.corners(522, 775))
    stages: dict[str, Callable[[], object]] = {
        "patch by patch": lambda: patch_by_patch(maps, image),
        "PatchClassMaps": lambda: maps(image),
        "forward passes alone": lambda: forward_passes(maps, image, patches),
    }
    difference = np.abs(patch_by_patch(maps, image) - maps(image)[0].cpu().numpy()).max()
    times = interleaved_seconds(stages, options.device, dict.fromkeys(stages, options.repeats))
    print(f"{patches} patches, 5 scales, input {options.input_size}: largest difference {difference:.1e}")
    for name, seconds in times.items():
        print(f"{name:<24}{min(seconds):>10.2f} s (best of {options.repeats}), median {np.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
