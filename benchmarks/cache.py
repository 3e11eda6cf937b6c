"""The cache of prepared slices for a cohort of the size of BraTS: time, size and memory, cold and warm.

    python benchmarks/cache.py FOLDER                    # 1,251 volumes of 240 x 240 x 155, 53 GB on the disk
    python benchmarks/cache.py FOLDER --volumes 40       # a quick look

FOLDER gets the volumes, the cache, and ``cache.json``. The volumes are a few synthetic ones under many names: each
copy differs in the header of its gzip file, so no two share an entry of the cache. Every row runs in a process of its
own, whose peak memory is that of the kernel (``ru_maxrss``), worker processes included one by one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from camtools.augment import Augmentation, RandomCrop, RandomGamma
from camtools.data import SliceCache, SliceDataset
from camtools.engine import slice_loader
from camtools.engine.loading import PrepareBatch, prepare_volumes, set_epoch
from camtools.transforms import PrepareVolumed, ScaleSlicesd

SHAPE = (240, 240, 155)
DISTINCT = 4
ROWS = ("build", "second start", "read every slice", "one epoch with augmentation")


def volume(seed: int) -> np.ndarray[Any, Any]:
    """An ellipsoid of noise in air, as compressible as a skull-stripped head."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, length) for length in SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    head = (x / 0.62) ** 2 + (y / 0.78) ** 2 + (z / 0.95) ** 2 < 1
    return np.where(head, rng.normal(300, 60, SHAPE), 0).clip(0).astype(np.int16)


def write_cohort(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    contents = []
    for seed in range(DISTINCT):
        image = nib.Nifti1Image(volume(seed), np.diag([-1.0, -1.0, 1.0, 1.0]))
        image.header.set_xyzt_units("mm")
        contents.append(gzip.compress(image.to_bytes(), compresslevel=6))
    for number in range(count):
        content = bytearray(contents[number % DISTINCT])
        content[4:8] = struct.pack("<I", number)  # the time in the header of the gzip file
        (folder / f"case_{number:04d}.nii.gz").write_bytes(content)


def dataset_of(folder: Path) -> SliceDataset:
    images = sorted((folder / "volumes").glob("*.nii.gz"))
    tags = [int(40 <= k < 110) for k in range(SHAPE[2])]
    items = [{"image": str(path), "slice_labels": tags} for path in images]
    steps = [RandomGamma((0.5, 2.0), prob=0.5), RandomCrop((224, 224), rotation=0.5, flip_prob=0.5)]
    prepare = PrepareVolumed(slice_axis=2, intensity=ScaleSlicesd("image"))
    cache = SliceCache(folder / "cache", limit=200)
    return SliceDataset(items, prepare, cache=cache, augmentation=Augmentation(steps))


def measure(folder: Path, row: str) -> dict[str, Any]:
    dataset = dataset_of(folder)
    started = time.perf_counter()
    prepare_volumes([dataset], row)
    if row in ("build", "second start"):
        seconds = time.perf_counter() - started
        result = {"seconds": seconds, "volumes": len(dataset.data), "GB": dataset.cache.size() / 1e9}
    else:
        loader = slice_loader(dataset, 32)
        augment = PrepareBatch(dataset.augmentation if row == ROWS[3] else None)
        set_epoch(loader, 1)
        started = time.perf_counter()
        for batch in loader:
            augment(batch, "cpu")
        seconds = time.perf_counter() - started
        result = {"seconds": seconds, "slices": len(dataset), "slices per second": len(dataset) / seconds}
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return result | {"peak MB": peaks[0] / 1e3, "peak MB of a worker": peaks[1] / 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--volumes", type=int, default=1251)
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(measure(arguments.folder, arguments.row)))
        return
    write_cohort(arguments.folder / "volumes", arguments.volumes)
    results = {}
    print(f"{arguments.volumes} volumes, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for row in ROWS:
        command = [sys.executable, __file__, str(arguments.folder), "--row", row]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results[row] = json.loads(run.stdout.splitlines()[-1])
        shown = ", ".join(f"{key} {value:,.2f}" for key, value in results[row].items())
        print(f"{row}: {shown}", flush=True)
        (arguments.folder / "cache.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
