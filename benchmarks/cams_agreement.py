"""How far the maps of the peers are from those of camtools, and whether the reason given for it explains it all.

Each map is divided by its maximum; a difference is the largest over all pixels, images and layers. Four of them:

- raw: before scaling and upsampling, where the peer can be asked for that;
- delivered: what the peer returns at its default, against our upsampled map;
- same scaling: the same, with our map scaled and upsampled in the peer's order;
- same formula: raw (FullGrad: delivered), with our map computed by the peer's formula (``cams_variants.py``), in
  float64 but for Score-CAM: some of the formulas blow the rounding of float32 up. Ablation-CAM: our own formula.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from cams_ours import Camtools
from cams_peers import PEERS, Library, Monai, PytorchGradCam, TorchCam, installed
from cams_tables import markdown, table_row
from cams_tasks import LAYERS, METHODS, SLOW, Case, Maps, prepare
from cams_variants import variant
from torch import Tensor
from torch.nn import functional as F

HEAD = ["network", "method", "library", "maps", "raw", "delivered", "same scaling", "same formula"]
TARGET = 1e-4


def print_agreement(options: argparse.Namespace) -> None:
    """Print a Markdown table with every method that a peer has, row by row."""
    print(f"Largest relative difference; target {TARGET:g}, larger ones are bold.\n\n{markdown(HEAD, [])}", flush=True)
    for network in options.networks:
        for method in options.methods:
            case = _case(network, method, options)
            for peer in PEERS:
                if peer.name in options.libraries and peer.settings(method) and installed(peer):
                    print(table_row([network, METHODS[method], peer.name, *compare(case, peer)]), flush=True)
            if method in SLOW and options.dtype == "float32":
                print(table_row([network, METHODS[method], "camtools bfloat16", *_half_precision(case)]), flush=True)


def _case(network: str, method: str, options: argparse.Namespace) -> Case:
    layers = () if method == "fullgrad" else LAYERS[network]
    if method in SLOW:
        layers = (layers[options.slow_layer - 1],)
    return Case(network, method, 1 if method in SLOW else 3, layers, options.size, options.dtype, options.device)


def compare(case: Case, peer: PytorchGradCam | TorchCam | Monai) -> list[str]:
    """The cells of a row: number of maps that are not zero everywhere, and the four differences."""
    size = (case.size, case.size)
    task = prepare(case)
    maps = Camtools().extractor(task)(task.images, target=task.targets)
    ours = list(maps.unbind(1))
    raw = Camtools().raw(task)
    cells = [str(int((maps.flatten(2).amax(2) > 0).sum()))]
    theirs_raw = None if case.method == "fullgrad" else peer.raw(prepare(case))
    cells.append("-" if theirs_raw is None else _cell(difference(raw, theirs_raw)))
    theirs = delivered(case, peer)
    resized = [_resize(layer_map, size) for layer_map in theirs]
    cells.append(_cell(difference(ours, resized)))
    cells.append(_cell(difference([_resize(m, size) for m in scaled_as(peer, raw, size)], resized)))
    return [*cells, _explained(case if case.method == "scorecam" else replace(case, dtype="float64"), peer)]


def _explained(case: Case, peer: PytorchGradCam | TorchCam | Monai) -> str:
    ours = Camtools().raw(prepare(case)) if case.method == "ablationcam" else variant(prepare(case), peer.name)
    if ours is None:
        return "-"
    if case.method == "fullgrad":
        return _cell(difference(scaled_as(peer, ours, (case.size, case.size)), delivered(case, peer)))
    return _cell(difference(ours, peer.raw(prepare(case))))


def delivered(case: Case, peer: Library) -> Maps:
    """What a peer returns at its default; MONAI image by image, since its batches know one class only."""
    if not isinstance(peer, Monai):
        maps: Maps = peer.run(prepare(case), "default")()
        return maps
    parts = []
    for index in range(case.batch):
        task = prepare(case)
        task.images, task.targets = task.images[index : index + 1], task.targets[index : index + 1]
        parts.append(peer.run(task, "default")())
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


def scaled_as(peer: Library, maps: Maps, size: tuple[int, int]) -> Maps:
    """Our raw maps, scaled and resized in the order of a peer."""
    if isinstance(peer, TorchCam):
        return [_min_max(layer_map, 1e-8) for layer_map in maps]
    if isinstance(peer, Monai):
        return [1 - _min_max(_resize(layer_map, size), 0) for layer_map in maps]
    return [_min_max(_resize(_min_max(layer_map, 1e-7), size), 1e-7) for layer_map in maps]


def difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Largest difference of maps ``(B, h, w)``, each divided by its maximum; a map of zeros stays one."""
    return max(float((_unit(a) - _unit(b)).abs().max()) for a, b in zip(ours, theirs, strict=True))


def _half_precision(case: Case) -> list[str]:
    exact, task = prepare(case), prepare(case)
    ours = Camtools().run(exact, "default")()
    rounded = Camtools().run(task, "bfloat16")()
    return [str(len(ours)), "-", _cell(difference(ours.unbind(1), rounded.unbind(1))), "-", "-"]


def _cell(value: float) -> str:
    return f"**{value:.1e}**" if not value <= TARGET else f"{value:.1e}"


def _unit(maps: Tensor) -> Tensor:
    maps = maps.detach().double()
    highest = maps.amax(dim=(1, 2), keepdim=True)
    return maps / highest.masked_fill(highest <= 0, np.inf)


def _min_max(maps: Tensor, epsilon: float) -> Tensor:
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    return maps / (maps.amax(dim=(1, 2), keepdim=True) + epsilon)


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
