"""Slices per second of the augmentation of batches, against MONAI's chain of each sample and ``grid_sample`` alone.

One thread, calls in turn, the best of several: ``python benchmarks/augmentation.py``. Prints a table, saves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.data import set_track_meta
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandFlipd,
    RandRotated,
    RandScaleCropd,
    RandScaleIntensityd,
    RandSpatialCropd,
    Resized,
    SpatialPadd,
)
from timing import interleaved_seconds

from camtools.augment import Augmentation, RandomCrop, RandomGamma, RandomScaleCrop, RandomScaleIntensity

BATCH = 32
REPEATS = 7


def monai_crop(size: int, keys: list[str]) -> Compose:
    """Chain of the classifiers and of the segmenter of umcam."""
    return Compose(
        [
            RandAdjustContrastd("image", prob=0.5, gamma=(0.5, 2.0)),
            RandRotated(keys, prob=0.5, range_x=0.5, padding_mode="zeros"),
            RandFlipd(keys, prob=0.5, spatial_axis=0),
            RandFlipd(keys, prob=0.5, spatial_axis=1),
            SpatialPadd(keys, size),
            RandSpatialCropd(keys, size, random_size=False),
        ]
    )


def monai_views(size: int) -> Callable[[Any], Any]:
    """Chain of cfdcam's pre-training."""
    view = Compose(
        [
            RandScaleCropd("image", roi_scale=0.6**0.5, max_roi_scale=1.0, random_size=True),
            Resized("image", (size, size), mode="bilinear"),
            RandFlipd("image", prob=0.5, spatial_axis=0),
            RandFlipd("image", prob=0.5, spatial_axis=1),
            RandAdjustContrastd("image", prob=0.8, gamma=(0.6, 1.4)),
            RandScaleIntensityd("image", prob=0.8, factors=0.4),
        ]
    )
    return lambda sample: {"image": torch.stack([view(dict(sample))["image"] for _ in range(2)])}


def per_sample(transform: Callable[[Any], Any], batch: dict[str, torch.Tensor], keys: list[str]) -> None:
    """As SliceDataset does it, then collated."""
    samples = []
    for k in range(BATCH):
        samples.append(transform({key: batch[key][k].clone() for key in keys}))
    for key in keys:
        torch.stack([sample[key] for sample in samples])


def sampling(image: torch.Tensor) -> Callable[[], object]:
    """The floor: one sampling at coordinates that are there already."""
    turn = torch.tensor([[0.9, -0.3, 0.0], [0.3, 0.9, 0.0]]).expand(BATCH, 2, 3)
    grid = torch.nn.functional.affine_grid(turn, list(image.shape), align_corners=False)
    return lambda: torch.nn.functional.grid_sample(image, grid, padding_mode="zeros", align_corners=False)


def measure(name: str, size: int) -> None:
    keys = ["image", "label"] if name == "segmenter" else ["image"]
    batch = {"image": torch.rand(BATCH, 1, size, size), "index": torch.arange(BATCH)}
    if name == "segmenter":
        batch["label"] = torch.rand(BATCH, 2, size, size)
    if name == "views":
        crop = RandomScaleCrop(size, (0.6**0.5, 1.0))
        ours = Augmentation([crop, RandomGamma((0.6, 1.4), 0.8), RandomScaleIntensity(0.4, 0.8)], views=2)
        theirs: Callable[[Any], Any] = monai_views(size)
    else:
        ours = Augmentation([RandomGamma((0.5, 2.0)), RandomCrop(size, rotation=0.5)])
        theirs = monai_crop(size, keys)
    ours.set_epoch(0, BATCH)
    functions: dict[str, Callable[[], object]] = {
        "batch": lambda: ours(batch),
        "MONAI": lambda: per_sample(theirs, batch, keys),
        "sampling": sampling(batch["image"]),
    }
    for function in functions.values():
        function()
    times = interleaved_seconds(functions, torch.device("cpu"), dict.fromkeys(functions, REPEATS))
    rates = {key: BATCH / min(values) for key, values in times.items()}
    factor = rates["batch"] / rates["MONAI"]
    print(
        f"{name:<12}{size:>6}{rates['batch']:>10.0f}{rates['MONAI']:>10.0f}{factor:>8.1f}{rates['sampling']:>12.0f}",
        flush=True,
    )


def main() -> None:
    torch.set_num_threads(1)
    set_track_meta(False)
    print("slices per second (a slice with two views counts once); sampling: grid_sample of the image alone")
    print(f"{'chain':<12}{'size':>6}{'batch':>10}{'MONAI':>10}{'factor':>8}{'sampling':>12}")
    for size in (256, 128):
        for name in ("classifier", "segmenter", "views"):
            measure(name, size)


if __name__ == "__main__":
    main()
