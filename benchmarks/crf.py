"""Dense CRF: time per slice of the backends of camtools, and how far their labels agree with pydensecrf's.

    python benchmarks/crf.py                     # 32 slices of 240 x 240 pixels, one and three channels
    python benchmarks/crf.py --slices 300        # a whole volume

Slices are like the phantoms: a body, one ellipse, noise; the map is a blurred ellipse with noise. Every time is the
median over the repeats, all slices together, with workers that are running already. A ratio of 8 means 8 times faster
than pydensecrf in one process. Agreement is the fraction of pixels with the same label as there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from maps import phantom
from timing import median_seconds
from torch.nn.functional import avg_pool2d

from camtools.crf import dense_crf, pydensecrf_pool
from camtools.crf.inference import Backend


def batch(slices: int, channels: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images ``(slices, channels, size, size)`` and the noisy probability of their ellipses."""
    generator = torch.Generator().manual_seed(0)
    images = phantom(slices, size, generator)
    blurred = avg_pool2d((images > 0.6).float(), 15, stride=1, padding=7)
    noise = 0.3 * torch.rand(blurred.shape, generator=generator)
    tint = 0.03 * torch.randn(slices, channels, size, size, generator=generator)
    return (images + tint * (channels > 1)).clamp(0, 1), (0.7 * blurred + noise).clamp(0, 1)


def one_process(images: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
    """Marginals by pydensecrf without workers: slices one at a time."""
    pairs = zip(images.split(1), probability.split(1), strict=True)
    return torch.cat([dense_crf(*pair, backend="pydensecrf") for pair in pairs])


def rows(device: str) -> dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    """What is timed on a device: name to function."""
    backends: tuple[Backend, ...] = ("torch",) if device == "cuda" else ("pydensecrf", "torch")
    names = {"pydensecrf": f"pydensecrf, {pydensecrf_pool._cores()} cores", "torch": f"torch, {device}"}
    return {names[backend]: partial(dense_crf, backend=backend) for backend in backends}


def print_table(channels: int, options: argparse.Namespace) -> None:
    images, probability = batch(options.slices, channels, options.size)
    labels = one_process(images, probability).argmax(1)
    baseline = None
    print(f"\n{channels} channel(s)\n{'backend':<24}{'ms per slice':>13}{'ratio':>8}{'agreement':>12}")
    timed = {"pydensecrf, one process": (one_process, "cpu")}
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        timed |= {name: (function, device) for name, function in rows(device).items()}
    for name, (function, device) in timed.items():
        moved = images.to(device), probability.to(device)
        spent = median_seconds(partial(function, *moved), torch.device(device), options.repeats) / options.slices
        baseline = baseline or spent
        agreement = (function(*moved).argmax(1).cpu() == labels).float().mean().item()
        print(f"{name:<24}{1000 * spent:>13.2f}{baseline / spent:>8.1f}{100 * agreement:>11.3f}%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--size", type=int, default=240, help="side of a slice in pixels")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{options.slices} slices of {options.size} x {options.size}; {torch.get_num_threads()} threads of torch")
    for channels in (1, 3):
        print_table(channels, options)


if __name__ == "__main__":
    main()
