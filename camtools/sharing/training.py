"""``train.yaml`` of a bundle that a training writes: the settings of the run without its data, to train further."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser

from camtools.engine.knobs import NEUTRAL_IDS
from camtools.engine.trained_run import training_files
from camtools.engine.write_knobs import write_knobs

__all__ = ["write_training"]

logger = logging.getLogger("camtools")

# what a run is given for one call: its volumes, its steps, and the handlers of MONAI Label
OF_ONE_RUN = ("run", "train#dataset#data", "validate#dataset#data", "splits#test", "train#handlers")
MODELS = "$@bundle_root + '/models/"


def write_training(
    config: Mapping[str, Any], bundle: Path, knobs: Mapping[str, Any], initial_weights: str, target: Path
) -> bool:
    """Write ``train.yaml`` with the settings of a run as its defaults.

    It has no ``dataset_dir``, which the user gives, and exports into the folder of the new run, so that the weights of
    the bundle stay. Comments stay too, if the run changed only knobs. A configuration with a path of the machine in it
    is not written; a warning names the place.

    Args:
        config: configuration of the run.
        bundle: folder of its bundle.
        knobs: values of :func:`camtools.sharing.configs.run_knobs`.
        initial_weights: file in ``models/`` from which a new training starts.
        target: folder ``configs``.

    Returns:
        Whether it was written.
    """
    files = [str(path) for path in training_files(config, bundle)]
    default = ConfigParser(ConfigParser.load_config_files(files))
    default.resolve_macro_and_relative_ids()  # a run records "@a::b" for "@a#b"
    merged = ConfigParser(deepcopy(dict(config)))
    for name in [*sorted(NEUTRAL_IDS), *OF_ONE_RUN]:
        if name in default and name in merged:
            merged[name] = default[name]
    own: dict[str, Any] = {"initial_weights": f"{MODELS}{initial_weights}'"}
    own |= {"dataset_dir": None, "export_dir": "$@output_dir + '/models'"}
    if config.get("choice"):
        own["choice"] = f"{MODELS}choice.json'"  # the run was given one
    for name, value in {**knobs, **own}.items():
        merged[name] = value
    found = next(_machine_paths(merged.get()), None)
    if found is not None:
        logger.warning(
            "bundle: train.yaml is not written, because '%s' is a path of this machine, or no value for a file.", found
        )
        return False
    changed = {name: value for name, value in merged.get().items() if value != default.get().get(name)}
    path = target / "train.yaml"
    if len(files) == 1:
        shutil.copyfile(files[0], path)
        if write_knobs(target, changed, [path.name]) == set(changed):
            return True
    path.write_text(yaml.safe_dump(merged.get(), sort_keys=False, width=120), encoding="utf-8")
    return True


def _machine_paths(content: Any, name: str = "") -> Iterator[str]:
    """Ids whose value is an absolute path, or no value that a file can hold."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _machine_paths(value, f"{name}#{key}" if name else str(key))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _machine_paths(value, f"{name}#{index}")
    elif isinstance(content, str):
        if Path(content).is_absolute():
            yield name
    elif not isinstance(content, (bool, int, float, type(None))):
        yield name
