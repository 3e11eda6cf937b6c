"""Time from slices to pseudo-labels, against the bare forward pass of the same classifier.

One volume of 30 slices of 256 x 256 pixels, VGG-16 at full width, maps of its five blocks::

    python benchmarks/maps.py                                 # CPU, all threads
    python benchmarks/maps.py --device cuda --dtype bfloat16
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from timing import median_seconds
from torch import Tensor

from camtools.cams import GradCAM
from camtools.fusion import normalize_max, uncertainty_weighted_mean
from camtools.networks import VGG16CAM


def phantom(slices: int, size: int, generator: torch.Generator) -> Tensor:
    """Slices ``(slices, 1, size, size)`` in [0, 1]: a dim body with one bright ellipse each, and noise."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    body = 0.4 * (x**2 + y**2 < 0.8).float()
    centres = torch.rand(slices, 2, generator=generator) - 0.5
    offset = torch.stack((y, x)) - centres[:, :, None, None]
    ellipse = (offset[:, 0] / 0.3) ** 2 + (offset[:, 1] / 0.2) ** 2 < 1
    noise = 0.05 * torch.randn(slices, size, size, generator=generator)
    return (body + 0.4 * ellipse + noise).clamp(0, 1)[:, None]


def stages(options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """What is timed, each stage from the slices on: name to function."""
    from camtools.geodesic import seed_pseudo_label

    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = VGG16CAM().eval().to(options.device, getattr(torch, options.dtype))
    slices = phantom(options.slices, options.size, generator).to(options.device)
    images = slices.to(getattr(torch, options.dtype))
    cam = GradCAM(model, model.cam_layers, batch_size=options.batch_size)

    def forward() -> list[Tensor]:
        with torch.no_grad():
            return [model(chunk) for chunk in torch.split(images, options.batch_size or len(images))]

    def maps() -> Tensor:
        return cam(images, target=1)

    def fused() -> Tensor:
        return uncertainty_weighted_mean(normalize_max(maps()))

    def pseudo_labels() -> Tensor:
        return seed_pseudo_label(slices, fused())

    return {
        "forward pass alone": forward,
        "+ Grad-CAM, 5 layers": maps,
        "+ UM-CAM fusion": fused,
        "+ seeds and geodesic pseudo-labels": pseudo_labels,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--slices", type=int, default=30)
    parser.add_argument("--size", type=int, default=256, help="side of a slice in pixels")
    parser.add_argument("--batch-size", type=int, help="slices per forward pass; default: 4 on a CPU, else all")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.batch_size is None and options.device.type == "cpu":
        options.batch_size = 4
    timed = {name: median_seconds(run, options.device, options.repeats) for name, run in stages(options).items()}
    alone = next(iter(timed.values()))
    print(f"{options.slices} slices of {options.size} x {options.size}, {options.device}, {options.dtype}")
    print(f"{'stage (cumulative)':<36}{'seconds':>10}{'x forward':>11}")
    for name, seconds in timed.items():
        print(f"{name:<36}{seconds:>10.3f}{seconds / alone:>11.2f}")


if __name__ == "__main__":
    main()
