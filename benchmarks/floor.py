"""Training steps of UM-CAM's networks against the floor of their multiply-adds.

The floor is the time of the same multiply-adds at the highest rate that one convolution reaches on this machine, three
times the forward pass (outputs, gradients of inputs, gradients of weights; the first layer needs no gradient of its
input)::

    OMP_NUM_THREADS=1 python benchmarks/floor.py            # sizes of train.yaml
    OMP_NUM_THREADS=1 python benchmarks/floor.py --paper
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from functools import partial

import torch
from precision import step, works
from timing import interleaved_seconds
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.process import reuse_memory

CPU = torch.device("cpu")


class ImageNorm(nn.InstanceNorm2d):
    """Instance normalisation as batch normalisation of single images, which torch computes in channels-last format."""

    def forward(self, images: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``."""
        parts = [
            F.batch_norm(part, None, None, self.weight, self.bias, True, 0.0, self.eps) for part in images.split(1)
        ]
        return torch.cat(parts)


def with_image_norm(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.InstanceNorm2d):
            module.__class__ = ImageNorm
    return network.to(memory_format=torch.channels_last)


def without_norm(network: nn.Module) -> nn.Module:
    for parent in list(network.modules()):
        for name, module in parent.named_children():
            if isinstance(module, nn.InstanceNorm2d | nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    return network


def step_in_parts(network: nn.Module, images: Tensor, labels: Tensor, part: int) -> None:
    """The gradient of the batch, added up over parts of it."""
    for some, wanted in zip(images.split(part), labels.split(part), strict=True):
        loss = F.cross_entropy(network(some), wanted) * (len(some) / len(images))
        loss.backward()
    network.zero_grad()


def convolutions(network: nn.Module, images: Tensor) -> list[tuple[nn.Module, torch.Size, float]]:
    """Layers with weights, the shapes of their inputs, and the multiply-adds of their three products."""
    found: list[tuple[nn.Module, torch.Size, float]] = []

    def see(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        pixels = output if isinstance(module, nn.Conv2d | nn.Linear) else inputs[0]
        count = pixels[:, :1].numel() * module.weight.numel()
        found.append((module, inputs[0].shape, count * (3 if found else 2)))

    kinds = nn.Conv2d | nn.ConvTranspose2d
    hooks = [layer.register_forward_hook(see) for layer in network.modules() if isinstance(layer, kinds)]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return found


def one_layer(layer: nn.Module, shape: torch.Size, first: bool) -> Callable[[], None]:
    """Forward and backward pass of a layer by itself."""
    images = torch.rand(shape).contiguous(memory_format=torch.channels_last).requires_grad_(not first)
    with torch.no_grad():
        gradient = torch.ones_like(layer(images))

    def run() -> None:
        layer(images).backward(gradient)
        layer.zero_grad()
        images.grad = None

    return run


def best(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    for call in calls.values():
        call()
    times = interleaved_seconds(calls, CPU, dict.fromkeys(calls, repeats))
    return {name: min(values) for name, values in times.items()}


def good_convolution() -> tuple[Callable[[], Tensor], int]:
    """A convolution that suits the processor, and its multiply-adds."""
    layer = nn.Conv2d(128, 128, 3, padding=1).to(memory_format=torch.channels_last).requires_grad_(False)
    images = torch.rand(2, 128, 48, 48).contiguous(memory_format=torch.channels_last)
    return partial(layer, images), images[:, :1].numel() * layer.weight.numel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", action="store_true", help="sizes of paper.yaml, 2 images a step")
    parser.add_argument("--networks", nargs="+", default=["classifier", "segmenter"])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    reuse_memory()
    torch.manual_seed(0)
    convolve, products = good_convolution()
    print(f"{torch.get_num_threads()} threads\n{'':<48}{'ms':>8}{'x floor':>9}")
    for name, work in works(options.paper).items():
        if name not in options.networks:
            continue
        images = torch.rand(2 if options.paper else work.batch[0], *work.batch[1:])
        labels = torch.randint(2, (len(images), *work.target))
        network = work.network()
        layers = convolutions(network, images)
        last = copy.deepcopy(network).to(memory_format=torch.channels_last)
        calls: dict[str, Callable[[], object]] = {
            "one good convolution": convolve,
            "as it is": partial(step, network, images, labels, False),
            "channels last": partial(step, last, images, labels, False),
            "channels last, norm image by image": partial(
                step, with_image_norm(copy.deepcopy(network)), images, labels, False
            ),
            "channels last, no normalisation": partial(step, without_norm(copy.deepcopy(last)), images, labels, False),
            "as it is, parts of 2 images": partial(step_in_parts, network, images, labels, 2),
        }
        times = best(calls, options.repeats)
        runs = {str(index): one_layer(layer, shape, index == 0) for index, (layer, shape, _) in enumerate(layers)}
        times["convolutions by themselves"] = sum(best(runs, options.repeats).values())
        attainable = products / times["one good convolution"]
        floor = sum(count for *_, count in layers) / attainable
        print(f"{attainable / 1e9:.1f} billion multiply-adds a second")
        times["floor"] = floor
        for setting, seconds in times.items():
            print(f"{name:<12}{setting:<36}{1e3 * seconds:>8.1f}{seconds / floor:>9.2f}", flush=True)


if __name__ == "__main__":
    main()
