"""Time of UM-CAM's networks with and without channels-last weights and mixed precision.

A training step of the batch size of ``train.yaml``, and the network on one volume as ``inference.yaml`` runs it::

    python benchmarks/precision.py                  # sizes of train.yaml, CPU, all threads
    python benchmarks/precision.py --paper --device cuda
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import product
from typing import NamedTuple

import torch
from monai.networks.nets import BasicUNet
from timing import interleaved_seconds
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.networks import VGG16CAM
from camtools.process import reuse_memory

SWITCHES = list(product((False, True), (False, True)))  # channels_last, amp


class Work(NamedTuple):
    """A network with its two tasks."""

    network: Callable[[], nn.Module]
    batch: tuple[int, ...]  # of a training step
    target: tuple[int, ...]  # of its labels, behind the batch
    part: int  # slices of a pass in inference


def works(paper: bool) -> dict[str, Work]:
    side, width, features = (
        (256, 1.0, (64, 128, 256, 512, 1024, 64)) if paper else (96, 0.25, (16, 16, 32, 64, 128, 16))
    )
    return {
        "classifier": Work(partial(VGG16CAM, width=width, norm="batch"), (32, 1, side, side), (), 16),
        "segmenter": Work(partial(BasicUNet, 2, 1, 2, features=features), (12, 1, side, side), (side, side), 4),
    }


def step(network: nn.Module, images: Tensor, labels: Tensor, amp: bool) -> None:
    with torch.autocast(images.device.type, torch.bfloat16) if amp else nullcontext():
        logits = network(images)
    F.cross_entropy(logits.float(), labels).backward()
    network.zero_grad()


def segment(network: nn.Module, images: Tensor, part: int, amp: bool) -> None:
    with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16) if amp else nullcontext():
        for batch in images.split(part):
            network(batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--paper", action="store_true", help="sizes of paper.yaml")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    reuse_memory()
    torch.manual_seed(0)
    calls: dict[tuple[str, bool, bool], Callable[[], object]] = {}
    for name, work in works(options.paper).items():
        images, volume = (torch.rand(count, *work.batch[1:], device=options.device) for count in (work.batch[0], 32))
        labels = torch.randint(2, (work.batch[0], *work.target), device=options.device)
        for channels_last, amp in SWITCHES:
            layout = torch.channels_last if channels_last else torch.contiguous_format
            network = work.network().to(options.device, memory_format=layout)
            calls[f"{name}, training step", channels_last, amp] = partial(step, network, images, labels, amp)
            trained = work.network().to(options.device, memory_format=layout).eval()
            calls[f"{name}, 32 slices", channels_last, amp] = partial(segment, trained, volume, work.part, amp)
    for call in calls.values():
        call()
    times = interleaved_seconds(calls, options.device, dict.fromkeys(calls, options.repeats))
    print(f"{'ms':<28}{'neither':>10}{'amp':>10}{'ch. last':>10}{'both':>10}")
    for task in dict.fromkeys(name for name, *_ in calls):
        print(
            f"{task:<28}" + "".join(f"{1e3 * statistics.median(times[(task, *switch)]):>10.1f}" for switch in SWITCHES)
        )


if __name__ == "__main__":
    main()
