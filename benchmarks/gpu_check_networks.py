"""Checks of ``gpu_check.py``: training steps in half precision, activation maps and Cfd-CAM."""

from __future__ import annotations

import statistics
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import partial

import cams_tasks
import cfdcam
import precision
import torch
from gpu_check_machine import Machine
from gpu_check_table import Row, at_least, at_most, measured
from timing import interleaved_seconds, median_seconds
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.cams import CfdCAM, GradCAM, LayerCAM
from camtools.networks import ResNet18CAM

DTYPES = ("float32", "bfloat16", "float16")
LOSS_LIMIT = 0.02  # relative difference of the first loss from that in float32: bfloat16 has 8 bits
MAPS_LIMIT = 0.6  # of the rate of the bare passes; it is 0.9 to 1 on a CPU
SCORING_LIMIT = 1e-2  # of the maximum of a map, when confidences are rounded to bfloat16
MAPS = {"gradcam": GradCAM, "layercam": LayerCAM}


def step_rows(machine: Machine) -> Iterator[Row]:
    """Training steps of the papers' networks in every type: time, loss of the first step and of the last."""
    works = precision.works(paper=machine.full)
    resnet = precision.Work(partial(ResNet18CAM, num_classes=2), (64, 1, 256, 256), (), 16)
    works = {"VGG-16": works["classifier"], "U-Net": works["segmenter"], "ResNet-18": resnet}
    for name, work in works.items():
        batch = work.batch if machine.full else (2, 1, 64, 64)
        target = (batch[0], *(batch[2:] if work.target else ()))
        torch.manual_seed(0)
        images, labels = torch.rand(batch, device=machine.device), torch.randint(2, target, device=machine.device)
        first, milliseconds = {}, {}
        for dtype in DTYPES:
            step = training_step(work.network, images, labels, dtype)
            first[dtype] = step()
            spent = [1000 * median_seconds(step, machine.device, 5)]
            milliseconds[dtype] = spent[0]
            rate = f"{1000 * len(images) / spent[0]:.4g} slices a second"
            ratio = f"{milliseconds['float32'] / spent[0]:.3g} times the speed of float32"
            what = f"{name}, training step of {len(images)} slices of {batch[3]} x {batch[3]}, {dtype}"
            yield measured(what, spent[0], "ms", f"{rate}, {ratio}")
            yield measured(f"{name}, loss after {2 + 5} steps, {dtype}", step(), "", f"{first[dtype]:.4f} at first")
            if dtype != "float32":
                difference = abs(first[dtype] - first["float32"]) / abs(first["float32"])
                yield at_most(f"{name}, first loss, {dtype} against float32", difference, "relative", LOSS_LIMIT)


def training_step(network: Callable[[], nn.Module], images: Tensor, labels: Tensor, dtype: str) -> Callable[[], float]:
    """A step that trains a new network, the same for every type, and returns its loss.

    Dropout is off: its draws differ from type to type.
    """
    torch.manual_seed(0)
    model = network().to(images.device)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    kind = images.device.type
    scaler = torch.amp.GradScaler(kind, enabled=dtype == "float16")

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast(kind, getattr(torch, dtype), enabled=dtype != "float32"):
            loss = F.cross_entropy(model(images).float(), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.item()

    return step


def map_rows(machine: Machine) -> Iterator[Row]:
    """Grad-CAM and Layer-CAM of VGG-16's five blocks, as a fraction of its bare forward and backward pass."""
    batch, size = (32, 256) if machine.full else (2, 64)
    for method, cam_class in MAPS.items():
        case = cams_tasks.Case("vgg16", method, batch, cams_tasks.LAYERS["vgg16"], size, device=str(machine.device))
        ours, bare = cams_tasks.prepare(case), cams_tasks.prepare(case)
        ours.channels_last()
        maps = partial(cam_class(ours.model, ours.layers), ours.images, target=ours.targets)
        runs = {"maps": maps, "bare": cams_tasks.floor(bare, ours=True)}
        for run in runs.values():
            run()
        times = interleaved_seconds(runs, machine.device, dict.fromkeys(runs, 7))
        spent, least = (statistics.median(times[name]) for name in ("maps", "bare"))
        what = f"{cams_tasks.METHODS[method]}, VGG-16, {batch} slices of {size} x {size}, five layers"
        bare_rate = f"{5 * batch / least:.4g} at the rate of the bare passes"
        yield measured(what, 5 * batch / spent, "maps a second", bare_rate)
        yield at_least(f"{what}: share of the bare rate", least / spent, "", MAPS_LIMIT)


def cfdcam_rows(machine: Machine) -> Iterator[Row]:
    """Cfd-CAM of ResNet-18 at both scales, its masked passes in float32 and in bfloat16."""
    model = cfdcam.classifier(None, 1.0 if machine.full else 0.125).to(machine.device)
    images = cfdcam.slices(Namespace(dataset=None, slices=2 if machine.full else 1)).to(machine.device)
    if not machine.full:
        images = F.interpolate(images, size=(96, 96), mode="bilinear")
    floor = 1000 * bare_seconds(model, images, machine)
    maps = {}
    for dtype in ("float32", "bfloat16"):
        cam = CfdCAM(model, ["layer4"], cfdcam.SCALES, scoring_dtype=None if dtype == "float32" else torch.bfloat16)
        run = partial(cam, images, target=0)
        maps[dtype] = run()
        spent = 1000 * median_seconds(run, machine.device, 2 if machine.full else 1) / len(images)
        what = f"Cfd-CAM, ResNet-18, {images.shape[2]} x {images.shape[3]}, two scales, {dtype}"
        yield measured(what, spent, "ms a slice", f"{floor:.4g} for the bare passes in float32")
    difference = (maps["bfloat16"] - maps["float32"]).abs().max() / maps["float32"].max()  # NaN if all is 0
    yield at_most("Cfd-CAM: bfloat16 against float32", difference.item(), "of the maximum", SCORING_LIMIT)


def bare_seconds(model: ResNet18CAM, images: Tensor, machine: Machine) -> float:
    """Seconds of a slice's masked passes as plain passes: one a channel and scale, as many pixels."""
    inputs = images[:1].expand(64, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        spent = median_seconds(partial(model, inputs), machine.device, 3)
    return spent / len(inputs) * model.embedding_size * sum(scale**2 for scale in cfdcam.SCALES)
