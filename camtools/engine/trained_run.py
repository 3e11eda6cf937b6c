"""What a finished training says about how its networks are to be applied: the bundle, the knobs, the weights."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from camtools.data.errors import DataError
from camtools.engine.config import referenced_config
from camtools.engine.knobs import NEUTRAL_IDS
from camtools.engine.manifest import Manifest

__all__ = ["TrainedRun", "read_trained_run"]

# ids that train.yaml and inference.yaml share and that are no knobs
NO_KNOBS = NEUTRAL_IDS | {"imports", "initialize", "run", "finalize", "slicing"}
# the items of train.yaml that segment a volume; ``inference.yaml`` has the same under other names
PREDICTING = ("prediction#pipeline", "classifier#network")
# what segmenting a volume refers to and does not depend on: which volumes, and where a training started
WITHOUT_EFFECT: dict[str, Any] = {"slicing": None, "pretrained": None, "prediction#pipeline#data": []}
EXPORTS = ("train#trainer#export_path", "classifier#trainer#export_path")
CHECKPOINTS = {"model.pt": "checkpoint", "classifier.pt": "classifier_checkpoint"}


@dataclass(frozen=True)
class TrainedRun:
    """How to segment volumes with the networks of a run.

    Attributes:
        bundle: folder of the bundle that was trained.
        knobs: values of the training that differ from the defaults of the bundle's ``inference.yaml``.
        weights: files of weights by the knob of ``inference.yaml`` that names them.
    """

    bundle: Path
    knobs: Mapping[str, Any]
    weights: Mapping[str, Path]


def read_trained_run(run: str | Path, bundles: str | Path) -> TrainedRun:
    """Read from ``manifest.json`` how a run was trained.

    Args:
        run: folder of a run that exported its weights into itself, as ``camtools train`` does.
        bundles: folder that holds the bundles, such as ``bundles``.

    Raises:
        DataError: the folder holds no finished training, its weights are elsewhere, or it was trained with changes
            that ``inference.yaml`` has no knob for.
    """
    folder = Path(run)
    config, trained_in = _finished_config(folder)
    bundle = _bundle_of(config, Path(bundles))
    applied = ConfigParser.load_config_file(bundle / "configs" / "inference.yaml")
    shared = [name for name in applied if name in config and name not in NO_KNOBS]
    knobs = {name: config[name] for name in shared if not isinstance(applied[name], dict)}
    _check_components(config, bundle, set(knobs), folder)
    changed = {name: value for name, value in knobs.items() if value != applied[name]}
    return TrainedRun(bundle, changed, _weights(config, folder, trained_in))


def _finished_config(folder: Path) -> tuple[dict[str, Any], Path]:
    """Configuration of a finished run, and the folder that it had then."""
    manifest = Manifest(folder)
    config = manifest.content.get("config")
    if not isinstance(config, dict):
        raise DataError(
            f"Expected the folder of a training, found no manifest.json with its configuration in {folder}. Give the "
            "--output-dir of camtools train."
        )
    stages = manifest.content["stages"]
    unfinished = [name for name, record in stages.items() if record["status"] != "done"]
    if unfinished:
        raise DataError(
            f"Expected a finished training in {folder}, found the unfinished step '{unfinished[0]}'. Finish it with "
            "the same camtools train command."
        )
    return config, Path(str(config["output_dir"]))


def _bundle_of(config: Mapping[str, Any], bundles: Path) -> Path:
    """The bundle whose ``train.yaml`` differs least from the configuration of a run."""
    differing = {}
    for path in sorted(bundles.glob("*/configs/train.yaml")):
        default = ConfigParser.load_config_file(path)
        names = set(config) | set(default)
        differing[path.parents[1]] = sum(config.get(name) != default.get(name) for name in names)
    if not differing:
        raise DataError(f"Expected a folder of bundles, found none in {bundles}. Give it with --bundles DIR.")
    return min(differing, key=lambda bundle: differing[bundle])


def _check_components(config: dict[str, Any], bundle: Path, knobs: set[str], folder: Path) -> None:
    """Refuse a run whose prediction differs from the bundle's in more than knobs of ``inference.yaml``."""
    default = ConfigParser.load_config_file(bundle / "configs" / "train.yaml")
    trained, expected = _predicting(config), _predicting(default)
    names = sorted(name for name in trained.keys() | expected.keys() if trained.get(name) != expected.get(name))
    changed = [name.replace("::", "#") for name in names if name not in knobs]
    if changed:
        raise DataError(
            f"Expected a run that differs from {bundle / 'configs/train.yaml'} in knobs of its inference.yaml, found "
            f"another '{changed[0]}' in {folder / 'manifest.json'}. Run {bundle / 'configs/inference.yaml'} with "
            "python -m monai.bundle run, and make the same change there."
        )


def _predicting(config: dict[str, Any]) -> dict[str, Any]:
    """Everything that segmenting a volume depends on, by id."""
    parser = ConfigParser(deepcopy(config))
    for name, value in WITHOUT_EFFECT.items():
        if name in parser:
            parser[name] = value
    found: dict[str, Any] = {}
    for item in PREDICTING:
        if item in parser:
            found |= referenced_config(parser, item)
    return found


def _weights(config: dict[str, Any], folder: Path, trained_in: Path) -> dict[str, Path]:
    """Exported weights, which lie in the folder of the run also after it was moved."""
    export_dir = str(config.get("export_dir"))
    if not Path(export_dir).is_relative_to(trained_in):
        raise DataError(
            f"Expected the weights of the run below {folder}, found that its export_dir is {export_dir}. Another run "
            "may have written there. Train with camtools train, or run inference.yaml with --checkpoint FILE."
        )
    parser = ConfigParser(deepcopy(config))
    exported = [parser.get_parsed_content(name) for name in EXPORTS if name in parser]
    paths = [folder / Path(path).relative_to(trained_in) for path in exported if path]
    if "model.pt" not in [path.name for path in paths]:
        raise DataError(
            f"Expected a run that exports model.pt, found the method '{config.get('method')}' in {folder}, which is a "
            "row of a table and exports none. Train the default method."
        )
    found = {CHECKPOINTS[path.name]: path for path in paths if path.is_file()}
    if "checkpoint" not in found:
        raise DataError(
            f"Expected trained weights at {folder / 'models' / 'model.pt'}, found none. Finish the training with the "
            "same camtools train command."
        )
    return found
