"""Check of ``gpu_check.py``: the training pipeline with its cache on disk, batches augmented on the device."""

from __future__ import annotations

from collections.abc import Iterator

import loader
from gpu_check_machine import Machine
from gpu_check_table import Row, measured

from camtools.process import prepare_process


def loader_rows(machine: Machine) -> Iterator[Row]:
    """Slices a second of the pipeline alone and with the networks of paper.yaml, and how long the network waits."""
    prepare_process()
    size, volumes, seconds = (256, 4, 3.0) if machine.full else (64, 2, 1.0)
    counts = (0, 4) if machine.full else (0,)
    for name, task in loader.tasks(paper=machine.full).items():
        for workers in counts:
            dataset = loader.dataset_of(task, size, "batch", "cache", machine.folder, volumes)
            found = loader.measure(task, dataset, machine.device, workers, seconds)
            what = f"{name}, {size} x {size}, {workers} workers, augmented on the device"
            yield measured(f"{what}: pipeline alone", found["alone"], "slices a second")
            yield measured(f"{what}: with the network", found["with network"], "slices a second")
            yield measured(f"{what}: time that the network waits", found["waiting %"], "%")
