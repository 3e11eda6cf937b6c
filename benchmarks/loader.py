"""Training pipeline: slices a second alone and with the network, and the share of time that the network waits.

    python benchmarks/loader.py                          # 256 x 256, thin networks, this CPU
    python benchmarks/loader.py --device cuda --paper    # networks of paper.yaml, worker processes

Rows: ``memory`` keeps prepared slices in memory, ``cache`` reads them from the disk; ``per slice`` augments each slice
with MONAI's transforms, ``batch`` augments whole batches on the device.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.networks.nets import BasicUNet
from monai.transforms import Compose, RandAdjustContrastd, RandFlipd, RandRotated, RandSpatialCropd, SpatialPadd
from torch import Tensor, nn

from camtools.augment import Augmentation, RandomCrop, RandomGamma
from camtools.data import SliceCache, SliceDataset, builtin_dataset, load_datalist
from camtools.data.slice_dataset import pseudo_label_files
from camtools.engine import slice_loader
from camtools.engine.loading import PrepareBatch, prepare_volumes, set_epoch
from camtools.losses import DualPseudoLabelLoss
from camtools.networks import VGG16CAM
from camtools.process import prepare_process
from camtools.transforms import PrepareVolumed, ScaleSlicesd


class Task(NamedTuple):
    """A network to train, its loss, and the pseudo-labels that it needs."""

    network: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    batch_size: int
    keys: tuple[str, ...]


def tasks(paper: bool) -> dict[str, Task]:
    width, features = (1.0, (64, 128, 256, 512, 1024, 64)) if paper else (0.25, (16, 16, 32, 64, 128, 16))
    norm = None if paper else "batch"
    classifier = VGG16CAM(1, num_classes=2, width=width, norm=norm)
    segmenter = BasicUNet(2, 1, 2, features=features)
    return {
        "classifier": Task(classifier, nn.CrossEntropyLoss(), 32, ()),
        "segmenter": Task(segmenter, DualPseudoLabelLoss(), 12, ("cam", "spl")),
    }


def per_slice(keys: list[str], size: tuple[int, int]) -> Compose:
    return Compose(
        [
            RandAdjustContrastd("image", prob=0.5, gamma=(0.5, 2.0)),
            RandRotated(keys, prob=0.5, range_x=0.5, padding_mode="zeros"),
            RandFlipd(keys, prob=0.5, spatial_axis=0),
            RandFlipd(keys, prob=0.5, spatial_axis=1),
            SpatialPadd(keys, spatial_size=size),
            RandSpatialCropd(keys, roi_size=size, random_size=False),
        ]
    )


def dataset_of(task: Task, size: int, augment: str, store: str, folder: Path, volumes: int) -> SliceDataset:
    items = load_datalist(builtin_dataset("tumour", n=2 * volumes), "training")[:volumes]
    prepare = PrepareVolumed(pixel_size=102.0 / size, slice_axis=2, intensity=ScaleSlicesd("image"))
    options: dict[str, Any] = {}
    if task.keys:
        for item in items:
            for file in pseudo_label_files(folder / "labels", item, task.keys).values():
                Path(file).parent.mkdir(parents=True, exist_ok=True)
                Path(file).unlink(missing_ok=True)
                Path(file).symlink_to(item["image"])
        options |= {"pseudo_label_dir": folder / "labels", "pseudo_labels": task.keys}
    if augment == "batch":
        steps = [RandomGamma((0.5, 2.0), prob=0.5), RandomCrop((size, size), rotation=0.5, flip_prob=0.5)]
        options["augmentation"] = Augmentation(steps)
    else:
        options["transform"] = per_slice(["image", "label"] if task.keys else ["image"], (size, size))
    options["cache"] = SliceCache(folder / "cache") if store == "cache" else None
    return SliceDataset(items, prepare, **options)


def batches(loader: Any, epochs: int) -> Iterator[dict[str, Any]]:
    for epoch in range(epochs):
        set_epoch(loader, epoch)
        yield from loader


def measure(task: Task, dataset: SliceDataset, device: torch.device, workers: int, seconds: float) -> dict[str, float]:
    """Slices a second without and with the network, and the share of the second time without work for it."""
    prepare_volumes([dataset], "loader")
    loader = slice_loader(dataset, task.batch_size, num_workers=workers, drop_last=True)
    place = PrepareBatch(dataset.augmentation)
    network = task.network.to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)

    def finish() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def run(train: bool) -> tuple[float, float]:
        count, waited, started = 0, 0.0, None
        for step, batch in enumerate(batches(loader, 10**6)):
            images, labels = place(batch, device, non_blocking=True)
            ready = finish()
            if started is None:  # the first batch fills memory and page cache
                started = before = ready
                continue
            waited += ready - before
            if train:
                optimizer.zero_grad()
                task.loss(network(images), labels).backward()
                optimizer.step()
            count += len(images)
            before = finish()
            if before - started > seconds and step > 3:
                break
        return count / (before - started), waited / (before - started)

    alone, _ = run(train=False)
    trained, waiting = run(train=True)
    return {"alone": alone, "with network": trained, "waiting %": 100 * waiting}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=256, help="pixels along a side")
    parser.add_argument("--paper", action="store_true", help="networks of paper.yaml")
    parser.add_argument("--volumes", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--output", type=Path, help="JSON file of the rows")
    arguments = parser.parse_args()
    prepare_process()
    rows: list[dict[str, Any]] = []
    print("| task | slices | augmentation | workers | alone, slices/s | with network, slices/s | waiting, % |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for (name, task), store, augment, workers in itertools.product(
            tasks(arguments.paper).items(), ("memory", "cache"), ("per slice", "batch"), arguments.workers
        ):
            dataset = dataset_of(task, arguments.size, augment, store, Path(folder), arguments.volumes)
            found = measure(task, dataset, torch.device(arguments.device), workers, arguments.seconds)
            rows.append({"task": name, "slices": store, "augmentation": augment, "workers": workers} | found)
            shown = " | ".join(f"{value:,.0f}" for value in found.values())
            print(f"| {name} | {store} | {augment} | {workers} | {shown} |", flush=True)
            if arguments.output:
                arguments.output.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
