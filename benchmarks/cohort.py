"""Inference over a folder of volumes: where the time of one goes, time against processes, size of what is written.

    python benchmarks/cohort.py DIR                       # DIR: volumes, or a dataset.json with a test split
    python benchmarks/cohort.py DIR --bundle ltgradcam --repeats 0   # where the time goes and nothing else

The networks have the sizes of inference.yaml and untrained weights, which change no time. Each run is a command of
its own (``torchrun`` from two processes on) with one thread a process unless the table says otherwise; all runs are
repeated in turn. Seconds are those of the stage in manifest.json: start-up and imports, once a run, are not in.
Everything is computed on the CPU; threads that wait do not spin (OMP_WAIT_POLICY=PASSIVE).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from camtools.data.files import file_hash
from camtools.engine import VolumePipeline
from camtools.process import reuse_memory

BUNDLES = Path(__file__).parents[1] / "bundles"
STAGES = {"predict": "evaluator", "maps": "map_pipeline"}
RUNS = ((1, 1), (1, 2), (2, 1), (4, 1))  # processes, threads of each


def knobs(data: Path, output: Path, models: Path) -> dict[str, str]:
    weights = {"checkpoint": str(models / "model.pt"), "classifier_checkpoint": str(models / "classifier.pt")}
    return {"dataset_dir": str(data), "output_dir": str(output), "device": "cpu"} | weights


def parser_of(bundle: str, settings: dict[str, str]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / bundle / "configs/inference.yaml"))
    known = {key: value for key, value in settings.items() if key in parser}
    parser.update({"bundle_root": str(BUNDLES / bundle)} | known)
    return parser


def save_untrained(bundle: str, settings: dict[str, str]) -> None:
    """Weights of all networks, as the pipelines load them."""
    parser = parser_of(bundle, settings)
    for name in STAGES.values():
        for network, path in parser.get_parsed_content(name).weights:
            torch.save(network.state_dict(), path)


def step_seconds(pipeline: VolumePipeline) -> dict[str, list[float]]:
    """Seconds of every step for every volume; the first volume, a warm-up, is left out."""
    times: dict[str, list[float]] = defaultdict(list)
    for item in pipeline.data:
        data: Any = dict(item)
        moments = [("", time.perf_counter())]
        digest = file_hash(item["image"])
        moments.append(("hash", time.perf_counter()))
        for number, step in enumerate(pipeline.steps):
            data = step(data)
            name = f"{number}. {type(step).__name__}" if number else "read and prepare"
            moments.append((name, time.perf_counter()))
        pipeline._write(item, data, digest[:32])
        moments.append(("write", time.perf_counter()))
        for (_, before), (name, after) in itertools.pairwise(moments):
            times[name].append(after - before)
    return {name: values[1:] for name, values in times.items()}


def print_steps(bundle: str, settings: dict[str, str]) -> None:
    parser = parser_of(bundle, settings)
    reuse_memory()
    for stage, name in STAGES.items():
        times = step_seconds(parser.get_parsed_content(name))
        total = sum(statistics.mean(values) for values in times.values())
        print(f"\n{stage}, one process with {torch.get_num_threads()} thread: {total:.3f} s a volume")
        for step, values in times.items():
            print(
                f"  {step:<28}{1000 * statistics.mean(values):>8.1f} ms{100 * statistics.mean(values) / total:>7.1f} %"
            )


def run_seconds(bundle: str, stage: str, settings: dict[str, str], processes: int, threads: int) -> float:
    """Seconds of one stage in an empty output folder."""
    configs = BUNDLES / bundle / "configs"
    files = [str(configs / "inference.yaml")] + ([str(configs / "multi_gpu_train.yaml")] if processes > 1 else [])
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    places = [part for key, value in settings.items() for part in (f"--{key}", value)]
    subprocess.run(
        [sys.executable, *launcher, "-m", "monai.bundle", "run", stage, "--config_file", str(files), *places],
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""},
        check=True,
        capture_output=True,
    )
    manifest = json.loads((Path(settings["output_dir"]) / "manifest.json").read_text())
    return float(manifest["stages"][stage]["seconds"])


def print_runs(options: argparse.Namespace, folder: Path, volumes: int) -> None:
    times: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for repeat in range(options.repeats):
        for stage in STAGES:
            for processes, threads in RUNS:
                output = folder / f"{stage}-{processes}-{threads}-{repeat}"
                settings = knobs(options.data, output, folder)
                seconds = run_seconds(options.bundle, stage, settings, processes, threads)
                times[stage, processes, threads].append(seconds)
                print(f"{stage}, {processes} x {threads}: {seconds:.1f} s", file=sys.stderr, flush=True)
    print(f"\n{'stage':<10}{'processes':>10}{'threads':>9}{'seconds':>9}{'volumes an hour':>17}{'all repeats':>24}")
    for (stage, processes, threads), values in times.items():
        median = statistics.median(values)
        rate = 3600 * volumes / median
        print(f"{stage:<10}{processes:>10}{threads:>9}{median:>9.1f}{rate:>17.0f}{sorted(values)!s:>24}")


def print_sizes(items: list[dict[str, Any]], output: Path) -> None:
    files = {name: list((output / name).rglob("*.nii.gz")) for name in ("predictions", "maps")}
    print("\nmean size of a file")
    for name, paths in ({"input": [Path(item["image"]) for item in items]} | files).items():
        print(f"  {name:<12}{statistics.mean(path.stat().st_size for path in paths) / 1e3:>10.1f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", default="umcam", choices=sorted(path.name for path in BUNDLES.iterdir()))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = knobs(options.data, folder / "steps", folder)
        save_untrained(options.bundle, settings)
        items = parser_of(options.bundle, settings).get_parsed_content("dataset#data")
        print(f"{len(items)} volumes, bundle {options.bundle}, {os.cpu_count()} cores")
        print_steps(options.bundle, settings)
        if options.repeats:
            print_runs(options, folder, len(items))
        print_sizes(items, folder / "steps")


if __name__ == "__main__":
    main()
