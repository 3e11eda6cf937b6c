"""Dense CRF: time per slice of the backends of camtools, and how far their labels agree with pydensecrf's.

    python benchmarks/crf.py                     # 32 slices of 240 x 240 pixels, one and three channels
    python benchmarks/crf.py --slices 300        # a whole volume

Slices are like the phantoms: a body, one ellipse, noise; the map is a blurred ellipse with noise. Every time is the
median over the repeats, all slices together. A ratio of 8 means 8 times faster than pydensecrf. Agreement is the
fraction of pixels with the same label.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from maps import phantom
from timing import median_seconds
from torch.nn.functional import avg_pool2d

from camtools.crf import dense_crf


def batch(slices: int, channels: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images ``(slices, channels, size, size)`` and the noisy probability of their ellipses."""
    generator = torch.Generator().manual_seed(0)
    images = phantom(slices, size, generator)
    blurred = avg_pool2d((images > 0.6).float(), 15, stride=1, padding=7)
    noise = 0.3 * torch.rand(blurred.shape, generator=generator)
    tint = 0.03 * torch.randn(slices, channels, size, size, generator=generator)
    return (images + tint * (channels > 1)).clamp(0, 1), (0.7 * blurred + noise).clamp(0, 1)


def print_table(channels: int, options: argparse.Namespace) -> None:
    images, probability = batch(options.slices, channels, options.size)
    pydensecrf = partial(dense_crf, backend="pydensecrf")
    labels = pydensecrf(images, probability).argmax(1)
    baseline = None
    print(f"\n{channels} channel(s)\n{'backend':<24}{'ms per slice':>13}{'ratio':>8}{'agreement':>12}")
    timed = {"pydensecrf": (pydensecrf, "cpu"), "torch, cpu": (dense_crf, "cpu")}
    if torch.cuda.is_available():
        timed["torch, cuda"] = (dense_crf, "cuda")
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
