"""Seconds of a training step of each classifier at its output strides, interleaved; best of the repeats.

python benchmarks/output_strides.py --repeats 5 --size 192 --batch-size 8
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from timing import interleaved_seconds
from torch import nn
from torch.nn import functional as F

from camtools.networks import VGG16CAM, EfficientNetLite0CAM, ResNet18CAM, ResNet38
from camtools.process import prepare_process

NETWORKS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "EfficientNet-Lite0": (partial(EfficientNetLite0CAM, in_channels=1, norm="frozen"), (8, 16, 32)),
    "ResNet-18": (partial(ResNet18CAM, num_classes=2), (8, 16, 32)),
    "ResNet-38, width 1/8": (partial(ResNet38, in_channels=1, width=0.125, norm="group"), (8, 16, 32)),
    "VGG-16 of UM-CAM, width 1/4": (partial(VGG16CAM, width=0.25, norm="batch"), (8, 16)),
    "VGG-16, width 1/4": (partial(VGG16CAM, width=0.25, norm="batch", dilated=False), (8, 16)),
}


def training_step(network: nn.Module, images: torch.Tensor, tags: torch.Tensor) -> None:
    network.zero_grad()
    F.cross_entropy(network(images), tags).backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=192, help="pixels")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    prepare_process()
    images = torch.rand(options.batch_size, 1, options.size, options.size)
    tags = torch.arange(options.batch_size) % 2
    print(f"{options.batch_size} images of {options.size} pixels, {torch.get_num_threads()} threads, ms an image")
    for name, (build, strides) in NETWORKS.items():
        steps = {
            stride: partial(training_step, build(output_stride=stride).train(), images, tags) for stride in strides
        }
        for step in steps.values():
            step()
        times = interleaved_seconds(steps, torch.device("cpu"), dict.fromkeys(steps, options.repeats))
        shown = [f"{stride}: {1000 * min(times[stride]) / options.batch_size:.1f}" for stride in strides]
        print(f"{name}: {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
