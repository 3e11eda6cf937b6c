"""Did a change of the code change a result? Record fixed, seeded results of two versions and compare them.

The tensor functions (``same_tensors.py``) are recorded, and every bundle: a tiny training on a tiny dataset
(``same_data.py``), then masks and activation maps of its test volumes. Each runs in a process with one thread on the
CPU; together they take about three minutes. The version that is imported is recorded, with its own ``bundles/``::

    PYTHONPATH=OLD python benchmarks/same_results.py record results/old
    PYTHONPATH=NEW python benchmarks/same_results.py record results/new
    python benchmarks/same_results.py compare results/old results/new

``compare`` prints the items that differ by more than 1e-6, and one line per group (``--all``: every item). It exits
with 1 when an item differs or is missing.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

import camtools

REPOSITORY = Path(camtools.__file__).parents[1]
TOLERANCE = 1e-6
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Run:
    """A tiny training of a bundle, and whether its dataset has a mask for every training volume."""

    bundle: str
    method: str | None
    masks: bool
    knobs: dict[str, Any]
    inference: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its group of results."""
        return f"{self.bundle}-{self.method or 'default'}"


COMMON = {"image_size": [32, 32], "width": 0.0625, "classifier_epochs": 2, "device": "cpu"}
UMCAM = COMMON | {"features": [4, 4, 8, 8, 8, 4], "segmenter_epochs": 2, "pixel_size": 0.8}
CFDCAM = COMMON | {"pretrain_epochs": 2, "scales": [1.0, 1.5], "pixel_size": "$None"}
LTGRADCAM = COMMON | {"pixel_size": 1.25}
OEEM = {
    "in_channels": 1,
    "patch_size": 16,
    "patch_stride": 8,
    "input_size": 32,
    "width": 0.02,
    "scales": [1.0, 1.5],
    "crop_size": [32, 32],
    "crops_per_slice": 2,
    "test_scales": [1.0],
    "classifier_epochs": 2,
    "segmenter_epochs": 2,
    "pixel_size": "$None",
    "device": "cpu",
}
RUNS = (
    Run("umcam", None, False, UMCAM, {"gate": True}),
    Run("umcam", "full", True, UMCAM),
    Run("cfdcam", None, False, CFDCAM),
    Run("ltgradcam", None, False, LTGRADCAM),
    Run("oeem", None, True, OEEM),
    Run("oeem", "full", True, OEEM),
)
INFERENCE = ["@predict", "@maps"]


def record(output: Path, only: str) -> None:
    """Write one ``.npz`` file per group of results."""
    from same_data import write_datasets
    from same_tensors import tensor_results

    torch.set_num_threads(1)
    output.mkdir(parents=True, exist_ok=True)
    print(f"recording {REPOSITORY}", flush=True)
    if only in "tensors":
        _write(output / "tensors.npz", {name: value.numpy() for name, value in tensor_results().items()})
    with tempfile.TemporaryDirectory() as temporary:
        masks, tags = write_datasets(Path(temporary) / "data")
        for run in RUNS:
            if only in run.name:
                dataset = masks if run.masks else tags
                _write(output / f"{run.name}.npz", _results_of_run(run, dataset, Path(temporary) / run.name))


def _write(path: Path, arrays: Arrays) -> None:
    np.savez_compressed(path, **arrays)
    print(f"{path}: {len(arrays)} items", flush=True)


def _results_of_run(run: Run, dataset: Path, folder: Path) -> Arrays:
    models = folder / "models"
    knobs = run.knobs | {"dataset_dir": dataset, "output_dir": folder / "run", "export_dir": models}
    if run.method is not None:
        knobs["method"] = run.method
    _monai(run.bundle, "train.yaml", knobs, folder)
    if run.method is None:
        _monai(run.bundle, "inference.yaml", _inference_knobs(run, dataset, folder), folder)
    return _written(folder, run.name)


def _inference_knobs(run: Run, dataset: Path, folder: Path) -> dict[str, Any]:
    """The tiny knobs that ``inference.yaml`` has, and the weights of the training."""
    text = (REPOSITORY / "bundles" / run.bundle / "configs/inference.yaml").read_text()
    weights = {
        "checkpoint": folder / "models/model.pt",
        "classifier_checkpoint": folder / "models/classifier.pt",
    }
    wanted = run.knobs | run.inference | weights
    knobs = {key: value for key, value in wanted.items() if f"\n{key}:" in text}
    return knobs | {"dataset_dir": dataset, "output_dir": folder / "inference", "run": INFERENCE}


def _monai(bundle: str, config: str, knobs: dict[str, Any], folder: Path) -> None:
    """Run a bundle as a user does; a failure shows what it printed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "monai.bundle", "run"]
    command += ["--config_file", str(REPOSITORY / "bundles" / bundle / "configs" / config)]
    for key, value in knobs.items():
        command += [f"--{key}", str(value)]
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def _written(folder: Path, prefix: str) -> Arrays:
    """Voxels and affines, weights, training curves and scores of everything that a run wrote."""
    arrays: Arrays = {}
    for path in sorted(folder.rglob("*")):
        name = f"{prefix}/{path.relative_to(folder)}"
        if path.name.endswith(".nii.gz"):
            image = nib.load(path)
            arrays[name] = np.asanyarray(image.dataobj)
            arrays[f"{name}, affine"] = image.affine
            arrays[f"{name}, type and units"] = np.array(f"{image.get_data_dtype()} {image.header.get_xyzt_units()}")
        elif path.name == "model.pt" or path.parent.name == "models":
            arrays |= _weights(path, name)
        elif path.name == "history.json":
            arrays |= _curves(path, name)
        elif path.suffix == ".csv":
            arrays |= _table(path, name)
    return arrays


def _weights(path: Path, name: str) -> Arrays:
    state = torch.load(path, map_location="cpu", weights_only=True)
    values = [value.double().flatten() for _, value in sorted(state.items())]
    return {f"{name}, names": np.array(sorted(state)), name: torch.cat(values).numpy()}


def _curves(path: Path, name: str) -> Arrays:
    rows = json.loads(path.read_text())
    curves = sorted({key for row in rows for key in row if "second" not in key})
    return {f"{name}, {curve}": np.array([row.get(curve, np.nan) for row in rows], float) for curve in curves}


def _table(path: Path, name: str) -> Arrays:
    """The columns of a CSV file, rows sorted by their text; columns of numbers as numbers."""
    with path.open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: [value for value in row.values() if not _is_number(value)])
    columns: Arrays = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        if all(_is_number(value) for value in values):
            columns[f"{name}, {key}"] = np.array([float(value or "nan") for value in values])
        else:
            columns[f"{name}, {key}"] = np.array(values)
    return columns


def _is_number(text: str) -> bool:
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True


def compare(first: Path, second: Path, every: bool) -> int:
    """Print the table; the number of items that differ."""
    before, after = _read(first), _read(second)
    groups: dict[str, list[float]] = {}
    rows = []
    for name in sorted(before | after):
        distance = _distance(before.get(name), after.get(name))
        groups.setdefault(name.split("/")[0], []).append(distance)
        if every or not distance <= TOLERANCE:
            rows.append((name, distance, _share(distance, before.get(name)), _verdict(name, distance, before, after)))
    width = max([30, *(len(row[0]) for row in rows)])
    print(f"{'item':<{width}}  max abs difference  of the largest value  verdict at {TOLERANCE:g}")
    for name, distance, share, verdict in rows:
        print(f"{name:<{width}}  {distance:18.2e}  {share:20.2e}  {verdict}")
    for group, distances in groups.items():
        differing = sum(not distance <= TOLERANCE for distance in distances)
        print(
            f"{group + ', largest':<{width}}  {max(distances):18.2e}  {'':20}  {differing} of {len(distances)} differ"
        )
    return sum(not distance <= TOLERANCE for distances in groups.values() for distance in distances)


def _read(folder: Path) -> Arrays:
    arrays: Arrays = {}
    for path in sorted(folder.glob("*.npz")):
        arrays |= dict(np.load(path))
    if not arrays:
        raise SystemExit(f"expected .npz files in {folder}, found none. Run the command record first")
    return arrays


def _distance(before: np.ndarray | None, after: np.ndarray | None) -> float:
    """Largest absolute difference; infinity where the shapes or texts differ, or one is missing."""
    if before is None or after is None or before.shape != after.shape:
        return float("inf")
    if before.dtype.kind in "US" or after.dtype.kind in "US":
        return 0.0 if np.array_equal(before, after) else float("inf")
    wide, other = before.astype(np.float64), after.astype(np.float64)
    both_nan = np.isnan(wide) & np.isnan(other)
    with np.errstate(invalid="ignore"):
        gap = np.where(both_nan | (wide == other), 0.0, np.abs(wide - other))
    return float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0))


def _share(distance: float, before: np.ndarray | None) -> float:
    """The difference as a share of the largest absolute value before."""
    if distance == 0 or before is None or before.dtype.kind in "US":
        return distance
    largest = float(np.nan_to_num(np.abs(before.astype(np.float64))).max(initial=0.0))
    return distance / largest if largest > 0 else float("inf")


def _verdict(name: str, distance: float, before: Arrays, after: Arrays) -> str:
    if distance <= TOLERANCE:
        return "same"
    if name not in before:
        return "DIFFERENT: only in the second"
    if name not in after:
        return "DIFFERENT: only in the first"
    if before[name].shape != after[name].shape:
        return f"DIFFERENT: shapes {before[name].shape} and {after[name].shape}"
    return "DIFFERENT"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("output", type=Path)
    recording.add_argument("--only", default="", help="part of a group's name, such as umcam or tensors")
    comparing = commands.add_parser("compare")
    comparing.add_argument("first", type=Path)
    comparing.add_argument("second", type=Path)
    comparing.add_argument("--all", action="store_true", help="print every item")
    options = parser.parse_args()
    if options.command == "record":
        record(options.output.resolve(), options.only)
    elif compare(options.first, options.second, options.all):
        sys.exit(1)


if __name__ == "__main__":
    main()
