"""Minutes that a classifier trains until it reaches a validation accuracy.

    python benchmarks/time_to_accuracy.py before              # UM-CAM's classifier and schedule, built-in phantoms
    python benchmarks/time_to_accuracy.py after               # with the overlay fast_classifier.yaml beside this file
    python benchmarks/time_to_accuracy.py before --data DIR   # a dataset.json with masks or tags, at 128 x 128 pixels
    python benchmarks/time_to_accuracy.py after --data DIR --set pixel_size=1.3333 'image_size=[192, 192]'

``--sizes '{1: 0.5, 2: 1.0}'`` halves the images in epoch 1. Every epoch is validated, at full size. A row is printed,
and appended to ``--out``, after each: seconds and CPU seconds since the start, both with the preparation of the volumes
and all validations, and the accuracy. A run ends at the accuracy asked for, or after its last epoch. One seed. On a
machine shared with others, CPU seconds are the ones to compare.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from camtools.engine import NetworkTrainer
from camtools.process import prepare_process

BUNDLE = Path(__file__).parents[1] / "bundles/umcam"
OVERLAY = Path(__file__).with_name("fast_classifier.yaml")


class Rows:
    """One row after every epoch, printed and saved; ends the training at the accuracy asked for."""

    def __init__(self, run: str, accuracy: float, out: Path | None) -> None:
        self.run, self.accuracy, self.out = run, accuracy, out
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def __call__(self, trainer: NetworkTrainer) -> None:
        """Report the epoch that just ended."""
        last = trainer.history[-1]
        row = {
            "run": self.run,
            "epoch": last["epoch"],
            "seconds": round(time.perf_counter() - self.wall, 1),
            "cpu_seconds": round(time.process_time() - self.cpu, 1),
            "loss": round(last["loss"], 4),
            "accuracy": round(last["accuracy"], 4),
        }
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        if self.out is not None:
            self._append(self.out, row)
        if last["accuracy"] >= self.accuracy:
            print(f"{self.accuracy} reached after {row['seconds'] / 60:.1f} minutes", flush=True)
            trainer.terminate()

    def _append(self, out: Path, row: dict[str, Any]) -> None:
        new = not out.exists()
        with out.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)


def trainer_of(options: argparse.Namespace, folder: str) -> NetworkTrainer:
    """The trainer of the bundle's stage ``classify``."""
    files = [BUNDLE / "configs/train.yaml"]
    if options.run == "after":
        files.append(OVERLAY)
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    settings: dict[str, Any] = {"bundle_root": str(BUNDLE), "output_dir": folder, "export_dir": folder}
    settings |= {"device": options.device, "seed": options.seed, "validation_interval": 1}
    if options.data is not None:
        settings |= {"dataset_dir": str(options.data), "min_area_fraction": options.min_area_fraction}
        settings |= {"pixel_size": 2.0, "image_size": [128, 128]}
    if options.sizes:
        settings["classifier#augmentation#sizes"] = options.sizes
    for setting in options.set:
        key, _, value = setting.partition("=")
        settings[key] = yaml.safe_load(value)
    parser.update(settings)
    set_determinism(options.seed)
    trainer: NetworkTrainer = parser.get_parsed_content("classifier#trainer")
    return trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", choices=["before", "after"])
    parser.add_argument("--data", type=Path, help="folder with dataset.json; none: the built-in phantoms")
    parser.add_argument("--accuracy", type=float, default=0.92)
    parser.add_argument("--min-area-fraction", type=float, default=0.001, help="of a positive slice of --data")
    parser.add_argument("--sizes", type=yaml.safe_load, default={}, help="epoch to factor on the size of the images")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="knobs of the bundle")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="CSV file")
    options = parser.parse_args()
    prepare_process()
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(options, folder)
        slices = len(trainer.data_loader.dataset)
        print(f"{options}\n{slices} training slices, {torch.get_num_threads()} threads, torch {torch.__version__}")
        trainer.add_event_handler(Events.EPOCH_COMPLETED, Rows(options.run, options.accuracy, options.out))
        trainer.run()


if __name__ == "__main__":
    main()
