"""Slices of patients with maps that are made by hand."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from camtools.fusion import normalize_max
from camtools.scores.spool import Spool
from camtools.tuning import MaskChoice
from camtools.tuning.maps import LayerMaps, MethodMaps, SpooledMaps
from camtools.tuning.slices import PreparedSlices, SliceKey

LAYERS = ("near", "far")
MAPS = [
    MaskChoice("layercam", ("near",)),
    MaskChoice("layercam", ("far",)),
    MaskChoice("layercam", LAYERS),
    MaskChoice("gradcam", ("near",)),
]
SIZE = 24


def disc(row: float, column: float, radius: float) -> torch.Tensor:
    """How far inside a disc every pixel lies, 0 outside: ``(24, 24)``."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return (radius - ((y - row) ** 2 + (x - column) ** 2).float().sqrt()).clamp(min=0)


def slices_of(patient: str, count: int, seed: int, misled: bool = False) -> MethodMaps:
    """One volume. ``near`` lies on the object, ``far`` beside it; of a misled patient it is the other way round."""
    generator = torch.Generator().manual_seed(seed)
    images, masks, maps = [], [], []
    for _ in range(count):
        row, column = (8 + 8 * torch.rand(2, generator=generator)).tolist()
        inside = disc(row, column, 5.5)
        images.append(0.2 + 0.5 * (inside > 0) + 0.05 * torch.rand(SIZE, SIZE, generator=generator))
        masks.append(inside > 0)
        pair = [disc(row + 1, column, 8), disc(row + 4, column - 4, 8)]
        maps.append(torch.stack(pair[::-1] if misled else pair))
    keys = tuple(SliceKey(f"{patient}_scan", patient, index) for index in range(count))
    part = PreparedSlices(keys, torch.stack(images)[:, None], torch.stack(masks)[:, None])
    stacked = torch.stack(maps)
    weak = stacked + 0.3 * torch.rand(stacked.shape, generator=generator)
    return MethodMaps(part, {"layercam": layer_maps(stacked), "gradcam": layer_maps(weak)})


def layer_maps(maps: torch.Tensor) -> LayerMaps:
    return LayerMaps(LAYERS, normalize_max(maps).half(), maps.amax(dim=(2, 3), keepdim=True))


def spooled(parts: Mapping[str, MethodMaps]) -> SpooledMaps:
    spool: Spool[MethodMaps] = Spool()
    for part in parts.values():
        spool.append(part)
    keys = [key for part in spool for key in part.slices.keys]
    return SpooledMaps(spool, ["layercam", "gradcam"], keys)
