"""The configurations of a bundle with the settings of a run as their defaults."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser

from camtools.data.files import atomic_path
from camtools.engine.trained_run import applied_knobs, inference_files
from camtools.engine.write_knobs import write_knobs

__all__ = ["run_knobs", "write_configs"]

COPIED = ("evaluate.yaml", "multi_gpu_train.yaml", "logging.conf")


def run_knobs(config: dict[str, Any], bundle: Path, source: Path) -> dict[str, Any]:
    """Knobs of ``inference.yaml`` as a run had them, without paths of the machine.

    Raises:
        DataError: see :func:`camtools.engine.trained_run.applied_knobs`.
    """
    knobs = applied_knobs(config, bundle, source)
    if isinstance(knobs.get("pretrained"), str):
        knobs["pretrained"] = True  # a file of weights, from which the training started
    return knobs


def write_configs(config: Mapping[str, Any], bundle: Path, knobs: Mapping[str, Any], target: Path) -> None:
    """Write ``inference.yaml`` and what belongs to it.

    The lines and comments of the bundle's file stay, except for the values of knobs. If the run was trained with an
    overlay such as ``segmenter.yaml``, ``inference.yaml`` contains what its overlay changes, and has no comments.

    Args:
        config: configuration of the run.
        bundle: folder of its bundle.
        knobs: values of :func:`run_knobs`.
        target: folder ``configs`` to write; created.
    """
    target.mkdir()
    for name in COPIED:
        if (bundle / "configs" / name).is_file():
            shutil.copyfile(bundle / "configs" / name, target / name)
    files = [str(file) for file in inference_files(config, bundle)]
    applied = ConfigParser.load_config_files(files)
    changed = {name: value for name, value in knobs.items() if value != applied[name]}
    path = target / "inference.yaml"
    if len(files) == 1:
        shutil.copyfile(files[0], path)
        write_knobs(target, changed, [path.name])
        return
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(applied | changed, sort_keys=False, width=120), encoding="utf-8")
