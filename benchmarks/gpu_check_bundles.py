"""Checks of ``gpu_check.py``: ``paper.yaml`` of each bundle for one epoch, and training by several processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from gpu_check_machine import REPOSITORY, Finished, Machine, run
from gpu_check_table import Row, failed, measured

# Knobs that end paper.yaml within a minute on a GPU: few phantoms, one epoch, no download of weights.
SHORT: dict[str, dict[str, Any]] = {
    "umcam": {"phantoms": 5, "classifier_epochs": 1, "segmenter_epochs": 1},
    "cfdcam": {"phantoms": 5, "pretrain_epochs": 1, "classifier_epochs": 1},
    "ltgradcam": {"phantoms": 5, "classifier_epochs": 1, "pretrained": False},
    "oeem": {"phantoms": 8, "classifier_epochs": 1, "segmenter_epochs": 1, "crops_per_slice": 16}
    | {"min_patch_fraction": 0.5},  # nearly every patch of a gland phantom shows a gland: call few of them positive
}
# In addition on a CPU: thin networks and small images.
SMALL: dict[str, dict[str, Any]] = {
    "umcam": {"phantoms": 3, "width": 0.0625, "image_size": [64, 64], "features": [8, 8, 8, 8, 8, 8]},
    "cfdcam": {"phantoms": 3, "width": 0.0625, "image_size": [64, 64], "batch_size": 16, "scales": [1.0]},
    "ltgradcam": {"phantoms": 3, "width": 0.0625, "image_size": [64, 64]},
    "oeem": {
        "width": 0.0625,
        "input_size": 32,
        "crop_size": [64, 64],
        "crops_per_slice": 2,
        "segmenter_batch_size": 2,
        "num_workers": 2,
        "scales": [1.0],
        "test_scales": [1.0],
    },
}


def paper_rows(machine: Machine, bundle: str) -> Iterator[Row]:
    """All steps of train.yaml with paper.yaml, end to end, in a process as a user starts it."""
    knobs = SHORT[bundle] | ({} if machine.full else SMALL[bundle])
    done = bundle_run(machine, bundle, "paper.yaml", [], knobs)
    what = f"{bundle}, train.yaml + paper.yaml, one epoch of {knobs['phantoms']} phantoms, all steps"
    yield from rows(what, done, machine)


def rank_rows(machine: Machine) -> Iterator[Row]:
    """LTGrad-CAM's train.yaml on torchrun: NCCL on one or two GPUs; two processes with gloo on a CPU."""
    ranks = min(2, torch.cuda.device_count()) if machine.full else 2
    launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={ranks}", "--standalone"]
    knobs = SHORT["ltgradcam"] | {"phantoms": 3, "image_size": [64, 64], "width": 0.0625}
    del knobs["pretrained"]
    done = bundle_run(machine, "ltgradcam", "multi_gpu_train.yaml", launcher, knobs)
    backend = "NCCL" if machine.full else "gloo"
    yield from rows(f"ltgradcam, train.yaml, {ranks} process{'es' if ranks > 1 else ''}, {backend}", done, machine)


def bundle_run(machine: Machine, bundle: str, overlay: str, launcher: list[str], knobs: dict[str, Any]) -> Finished:
    """Run train.yaml of a bundle with an overlay."""
    configs = REPOSITORY / "bundles" / bundle / "configs"
    files = str([str(configs / "train.yaml"), str(configs / overlay)])
    places = {"output_dir": str(machine.folder / "run"), "export_dir": str(machine.folder / "models")}
    arguments = [*launcher, "-m", "monai.bundle", "run", "--config_file", files]
    for name, value in (places | knobs).items():
        arguments += [f"--{name}", str(value)]
    return run(arguments, machine, "run.log")


def rows(what: str, done: Finished, machine: Machine) -> Iterator[Row]:
    """Time and memory of a run, or why there are none."""
    if done.code != 0:
        yield failed(what, done.complaint)
        return
    yield measured(what, done.seconds, "s")
    if machine.full:
        yield measured(f"{what}: peak memory of the GPU", done.gpu_gib, "GiB")
    yield measured(f"{what}: peak memory of the host", done.host_gib, "GiB", "largest process")
