"""The libraries that ``cams.py`` compares: each computes the maps of a task, as delivered or as raw as it allows.

The timed function of a library returns what the library delivers, one entry per layer, and does nothing around it but
cutting the batch where the setting says so. Objects are made as the documentation of each library shows.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any, Protocol

import numpy as np
import torch
from cams_tasks import SLOW, Maps, Run, Task
from torch import Tensor

SETTINGS = {
    "default": "as the documentation shows it, the whole batch at once",
    "best": "channels_last model and images, in batches (or passes) of 4 on a CPU, 64 elsewhere; camtools: one batch",
    "tuned": "best, and around the documented interface: frozen parameters; pytorch-grad-cam: all layers in one pass",
    "bfloat16": "best, model and images converted to bfloat16",
    "compiled": "best, model compiled by torch.compile",
    "compiled bfloat16": "both",
}


class Library(Protocol):
    """A library under test."""

    name: str
    package: str

    def settings(self, method: str) -> tuple[str, ...]:
        """Settings in which the library computes a method; none where it does not have it."""

    def run(self, task: Task, setting: str) -> Run:
        """Function that computes the maps of the task, which is changed as the setting wants it."""


class PytorchGradCam:
    """PyPI ``grad-cam``. One object averages its layers: to keep them apart, each layer takes an object and a pass."""

    name, package = "pytorch-grad-cam", "pytorch_grad_cam"

    def settings(self, method: str) -> tuple[str, ...]:
        """All methods but our own; around the interface, nothing is gained where no gradients are needed."""
        if method in SLOW:
            return ("default", "best")
        return () if method == "ltgradcam" else ("default", "best", "tuned")

    def run(self, task: Task, setting: str) -> Run:
        """Function that makes an object for each layer in turn; tuned: one for all."""
        chunk = _prepare(task, setting)
        groups = [task.layers] if setting == "tuned" or task.method == "fullgrad" else [(name,) for name in task.layers]

        def run() -> Maps:
            maps = []
            for group in groups:
                with self.extractor(task, group, setting) as cam, _without_bars():
                    parts = [
                        cam(input_tensor=images, targets=_class_targets(targets))
                        for images, targets in _chunks(task, chunk, requires_grad=setting == "tuned")
                    ]
                together = torch.from_numpy(np.concatenate(parts))
                maps += list(together.unbind(1)) if together.ndim == 4 else [together]
            return maps

        return run

    def extractor(self, task: Task, layers: tuple[str, ...], setting: str) -> Any:
        """An object, which is a context manager that takes its hooks away."""
        import pytorch_grad_cam as library

        classes = {
            "gradcam": library.GradCAM,
            "gradcampp": library.GradCAMPlusPlus,
            "xgradcam": library.XGradCAM,
            "layercam": library.LayerCAM,
            "fullgrad": library.FullGrad,
            "scorecam": library.ScoreCAM,
            "ablationcam": library.AblationCAM,
        }
        modules = [] if task.method == "fullgrad" else [task.model.get_submodule(name) for name in layers]
        cam = classes[task.method](task.model, modules)
        if setting == "best" and task.method in SLOW:
            cam.batch_size = task.chunk
        if setting == "tuned" and task.method != "fullgrad":
            cam.aggregate_multi_layers = _layers_apart
        return cam

    def raw(self, task: Task) -> Maps:
        """Maps after the ReLU, before they are scaled and resized; FullGrad has none."""
        maps: Maps = []
        for name in task.layers:
            with self.extractor(task, (name,), "default") as cam, _without_bars():
                combine = cam.get_cam_image

                def recorded(*arguments: Any, combine: Callable[..., np.ndarray] = combine) -> np.ndarray:
                    maps.append(torch.from_numpy(np.maximum(combine(*arguments), 0)))
                    return np.asarray(maps[-1])

                cam.get_cam_image = recorded
                cam(input_tensor=task.images, targets=_class_targets(task.targets))
        return maps


class TorchCam:
    """PyPI ``torchcam``: maps at the resolution of the layer, scaled to their range; several layers in one pass."""

    name, package = "torch-cam", "torchcam"

    def settings(self, method: str) -> tuple[str, ...]:
        """Neither FullGrad nor Ablation-CAM."""
        known = ("gradcam", "gradcampp", "xgradcam", "layercam", "scorecam")
        return ("default", "best") if method in known else ()

    def run(self, task: Task, setting: str) -> Run:
        """Function that runs one object for all layers, made once."""
        return self._run(task, setting, normalized=True)

    def raw(self, task: Task) -> Maps:
        """Maps as they are without the documented normalisation."""
        maps: Maps = self._run(task, "default", normalized=False)()
        return maps

    def _run(self, task: Task, setting: str, normalized: bool) -> Run:
        import torchcam.methods as library

        classes = {
            "gradcam": library.GradCAM,
            "gradcampp": library.GradCAMpp,
            "xgradcam": library.XGradCAM,
            "layercam": library.LayerCAM,
            "scorecam": library.ScoreCAM,
        }
        chunk = _prepare(task, setting)
        options = {"batch_size": task.chunk} if setting == "best" and task.method == "scorecam" else {}
        cam = classes[task.method](task.model, list(task.layers), **options)
        no_gradients = torch.inference_mode(task.method == "scorecam")

        def run() -> Maps:
            parts = []
            for images, targets in _chunks(task, chunk):
                with no_gradients:
                    scores = task.model(images)
                parts.append(cam(class_idx=targets.tolist(), scores=scores, normalized=normalized))
            return [torch.cat(maps) for maps in zip(*parts, strict=True)]

        return run


class Monai:
    """``monai.visualize``: one class for a whole batch (Grad-CAM++ fails on batches), one layer per pass."""

    name, package = "MONAI", "monai"

    def settings(self, method: str) -> tuple[str, ...]:
        """Grad-CAM and Grad-CAM++."""
        return ("default", "best", "tuned") if method in ("gradcam", "gradcampp") else ()

    def run(self, task: Task, setting: str) -> Run:
        """Function that runs one object, made once, for each layer; the class of a batch is that of its first image."""
        chunk = _prepare(task, setting)
        chunk = 1 if task.method == "gradcampp" else chunk
        options = {} if setting == "default" else {"postprocessing": _unchanged}
        cam = self.extractor(task, **options)

        def run() -> Maps:
            return [
                torch.cat(
                    [
                        cam(x=images, class_idx=int(targets[0]), layer_idx=index)[:, 0]
                        for images, targets in _chunks(task, chunk, requires_grad=setting == "tuned")
                    ]
                )
                for index in range(len(task.layers))
            ]

        return run

    def extractor(self, task: Task, **options: Any) -> Any:
        """An object, whose hooks stay on the model."""
        from monai.visualize import GradCAM, GradCAMpp

        return (GradCAMpp if task.method == "gradcampp" else GradCAM)(task.model, task.layers, **options)

    def raw(self, task: Task) -> Maps:
        """Maps before upsampling and inversion, image by image: its batches know one class only."""
        cam = self.extractor(task)
        return [
            torch.cat(
                [
                    cam.compute_map(images, class_idx=int(targets[0]), layer_idx=index)[:, 0]
                    for images, targets in _chunks(task, 1)
                ]
            ).detach()
            for index in range(len(task.layers))
        ]


PEERS = (PytorchGradCam(), TorchCam(), Monai())


def installed(library: Library) -> bool:
    return importlib.util.find_spec(library.package) is not None


def _prepare(task: Task, setting: str) -> int:
    if setting == "default":
        return len(task.images)
    task.channels_last()
    if setting == "tuned":
        task.freeze()
    return task.chunk


def _chunks(task: Task, chunk: int, requires_grad: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    for images, targets in zip(task.images.split(chunk), task.targets.split(chunk), strict=True):
        yield images.detach().requires_grad_(requires_grad), targets


def _class_targets(targets: Tensor) -> list[Any]:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    return [ClassifierOutputTarget(target) for target in targets.tolist()]


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep progress bars, one per image, off the screen."""
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        yield


def _layers_apart(maps: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(maps, axis=1)


def _unchanged(maps: Tensor) -> Tensor:
    return maps
