"""What ``cams.py`` measures: networks with random weights, their layers, images, and the floor of each method."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

LAYERS = {
    "resnet18": ("relu", "layer1", "layer2", "layer3", "layer4"),
    "vgg16": ("features.3", "features.8", "features.15", "features.22", "features.29"),
}
METHODS = {
    "gradcam": "Grad-CAM",
    "gradcampp": "Grad-CAM++",
    "xgradcam": "XGrad-CAM",
    "layercam": "Layer-CAM",
    "ltgradcam": "LTGrad-CAM",
    "fullgrad": "FullGrad",
    "scorecam": "Score-CAM",
    "ablationcam": "Ablation-CAM",
}
SLOW = ("scorecam", "ablationcam")  # one forward pass per channel
PLAIN_CHUNK = 16  # of Score-CAM's and Ablation-CAM's plain floor

Maps = list[Tensor]  # one (B, h, w) per layer
Run = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One group of measurements: everything that the contestants have in common."""

    network: str
    method: str
    batch: int
    layers: tuple[str, ...]
    size: int = 256
    dtype: str = "float32"
    device: str = "cpu"

    def as_dict(self) -> dict[str, Any]:
        """The fields, as JSON takes them."""
        return asdict(self)


@dataclass
class Task:
    """A case with a model of its own, in evaluation mode, its parameters trainable as they come."""

    method: str
    layers: tuple[str, ...]
    model: nn.Module
    images: Tensor
    targets: Tensor

    def channels_last(self) -> None:
        """Convert model and images."""
        self.model.to(memory_format=torch.channels_last)
        self.images = self.images.contiguous(memory_format=torch.channels_last)

    @property
    def chunk(self) -> int:
        """Images in a pass that suit the device: 4 on a CPU, 64 elsewhere."""
        return 4 if self.images.device.type == "cpu" else 64

    def freeze(self) -> None:
        """Let no parameter need a gradient."""
        self.model.requires_grad_(False)


def prepare(case: Case) -> Task:
    """Model, images and targets of a case: the same numbers every time, a copy of the model for every caller."""
    dtype = getattr(torch, case.dtype)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(case.batch, 3, 8, 8, generator=generator)
    images = F.interpolate(images, size=(case.size, case.size), mode="bilinear")
    images += 0.1 * torch.randn(images.shape, generator=generator)
    model = copy.deepcopy(_network(case.network))
    with torch.no_grad():  # image i explains its i-th best class: targets differ, and few maps are zero everywhere
        targets = model(images[:, :, ::2, ::2]).topk(min(case.batch, 1000)).indices.diagonal().clone()
    model = model.to(case.device, dtype)
    return Task(case.method, case.layers, model, images.to(case.device, dtype), targets.to(case.device))


@cache
def _network(name: str) -> nn.Module:
    """Random weights with a fixed seed, biases, statistics and logits of the size they have after training."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and module.bias is not None:
                module.bias.normal_(0, 0.1)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        head.weight.mul_(4 / model(torch.randn(1, 3, 64, 64)).std())
    return model


def floor(task: Task, ours: bool) -> Run:
    """The least work that the method of a task can be made of, without the maps themselves.

    Args:
        task: its model is changed: frozen, hooked, and in ``channels_last`` for our floor.
        ours: ``channels_last`` in chunks (:attr:`Task.chunk`) instead of plain ``NCHW`` with all images at once
            (Score-CAM and Ablation-CAM: 16 perturbed images in a pass).
    """
    task.freeze()
    if ours:
        task.channels_last()
    if task.method in SLOW:
        return _perturbed_forwards(task, task.chunk if ours else PLAIN_CHUNK)
    chunk = task.chunk if ours else len(task.images)
    return _bias_gradients(task, chunk) if task.method == "fullgrad" else _activation_gradients(task, chunk)


def _activation_gradients(task: Task, chunk: int) -> Run:
    """One forward pass and the backward pass down to the shallowest layer, without a graph below it."""
    leaves: list[Tensor] = []

    def leaf(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    task.model.get_submodule(task.layers[0]).register_forward_hook(leaf)

    def run() -> list[Tensor]:
        gradients = []
        for images, targets in zip(task.images.split(chunk), task.targets.split(chunk), strict=True):
            score = task.model(images).gather(1, targets[:, None]).sum()
            gradients += torch.autograd.grad(score, leaves.pop())
        return gradients

    return run


def _bias_gradients(task: Task, chunk: int) -> Run:
    """One forward pass and the backward pass to the input, with the gradient at every layer that has a bias."""
    edges: list[Any] = []

    def edge(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        edges.append(torch.autograd.graph.get_gradient_edge(output))  # before an in-place ReLU moves it

    for module in task.model.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and module.bias is not None:
            module.register_forward_hook(edge)

    def run() -> None:
        for images, targets in zip(task.images.split(chunk), task.targets.split(chunk), strict=True):
            images = images.detach().requires_grad_()
            score = task.model(images).gather(1, targets[:, None]).sum()
            torch.autograd.grad(score, [images, *edges])
            edges.clear()

    return run


def _perturbed_forwards(task: Task, chunk: int) -> Run:
    """One forward pass for every channel of every layer: a masked image, or the channel set to zero."""
    perturb = _ablated_forwards if task.method == "ablationcam" else _masked_forwards

    def run() -> None:
        with torch.no_grad():
            for name in task.layers:
                for image in task.images.split(1):
                    perturb(task.model, task.model.get_submodule(name), image, chunk)

    return run


def _masked_forwards(model: nn.Module, layer: nn.Module, image: Tensor, chunk: int) -> None:
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: kept.append(output[0]))
    model(image)
    handle.remove()
    for masks in kept[0][:, None].split(chunk):
        model(image * F.interpolate(masks, size=image.shape[-2:], mode="bilinear"))


def _ablated_forwards(model: nn.Module, layer: nn.Module, image: Tensor, chunk: int) -> None:
    widths: list[int] = []
    channels = torch.arange(0, device=image.device)

    def ablate(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        widths.append(output.shape[1])
        return output.index_put_((torch.arange(len(channels), device=image.device), channels), output.new_zeros(()))

    handle = layer.register_forward_hook(ablate)
    model(image)  # ablates nothing
    for channels in torch.arange(widths[0], device=image.device).split(chunk):
        model(image.expand(len(channels), -1, -1, -1))
    handle.remove()
