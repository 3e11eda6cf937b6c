"""What a finished training says about how its networks are to be applied: the bundle, the knobs, the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver

from camtools.data.errors import DataError
from camtools.engine.config import referenced_config
from camtools.engine.manifest import Manifest, digest
from camtools.engine.model_settings import shared_knobs

__all__ = [
    "TrainedRun",
    "applied_knobs",
    "finished_config",
    "inference_files",
    "read_trained",
    "read_trained_run",
    "state_of_run",
    "trained_bundle",
    "training_files",
]

# the items of train.yaml that segment a volume; ``inference.yaml`` has the same under other names
PREDICTING = ("prediction#pipeline", "classifier#network")
# what segmenting a volume refers to and does not depend on: which volumes and files, and where a training started
WITHOUT_EFFECT: dict[str, Any] = {
    "slicing": None,
    "pretrained": None,
    "prediction#pipeline#data": [],
    "prediction#pipeline#weights": None,
}
EXPORTS = (
    "train#trainer#export_path",
    "classifier#trainer#export_path",
    "self_training#export_path",
    "self_training#rounds#export_path",
    "segmenter#rounds#export_path",
    "tuning#export_path",
    "finishing#export_path",
)
CHECKPOINTS = {
    "model.pt": "checkpoint",
    "classifier.pt": "classifier_checkpoint",
    "choice.json": "mask_choice",
    "finish.json": "finish_choice",
}


@dataclass(frozen=True)
class TrainedRun:
    """How to segment volumes with the networks of a run.

    Attributes:
        files: configuration files of the inference: ``inference.yaml``, and overlays of it.
        knobs: values of the training that differ from the defaults of the bundle's ``inference.yaml``.
        weights: files of weights by the knob of ``inference.yaml`` that names them.
    """

    files: Sequence[Path]
    knobs: Mapping[str, Any]
    weights: Mapping[str, Path]


def read_trained(folder: str | Path, bundles: str | Path) -> TrainedRun:
    """How to segment volumes with the networks in a folder: a bundle with weights, or a run.

    The bundle that a finished run wrote needs no knob. If a run has none, or one of an earlier training, its
    ``manifest.json`` is read.

    Args:
        folder: folder of a run, or of a bundle.
        bundles: folder that holds the bundles; not needed if ``folder`` is or has a bundle.

    Raises:
        DataError: see :func:`read_trained_run`.
    """
    path = Path(folder)
    bundle = trained_bundle(path)
    if bundle is None:
        return read_trained_run(path, bundles)
    if bundle != path:
        finished_config(path)
    return TrainedRun([bundle / "configs" / "inference.yaml"], {}, {})


def trained_bundle(folder: str | Path) -> Path | None:
    """The bundle in a folder: the folder itself if it is a bundle with weights, or that of the run in it.

    None if there is none, or one of an earlier training. The last training may be unfinished.
    """
    path = Path(folder)
    if not (path / "manifest.json").is_file():
        return path if _is_trained_bundle(path) else None
    manifest = Manifest(path)
    is_current = manifest.content.get("bundle") == state_of_run(manifest)
    return path / "bundle" if is_current and _is_trained_bundle(path / "bundle") else None


def state_of_run(manifest: Manifest) -> str:
    """Digest of what the stages of a run did. The bundle of a run is that of the state that the manifest records."""
    return digest({name: record["fingerprint"] for name, record in manifest.content["stages"].items()})


def _is_trained_bundle(folder: Path) -> bool:
    return (folder / "configs" / "inference.yaml").is_file() and (folder / "models" / "model.pt").is_file()


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
    config, trained_in = finished_config(folder)
    bundle = _bundle_of(config, Path(bundles))
    files = inference_files(config, bundle)
    applied = ConfigParser.load_config_files([str(file) for file in files])
    knobs = applied_knobs(config, bundle, folder / "manifest.json")
    changed = {name: value for name, value in knobs.items() if value != applied[name]}
    return TrainedRun(files, changed, _weights(config, folder, trained_in))


def inference_files(config: Mapping[str, Any], bundle: Path) -> list[Path]:
    """``inference.yaml``, and ``NAME_inference.yaml`` if the run was trained with ``NAME.yaml``."""
    files = [bundle / "configs" / "inference.yaml"]
    return files + [path.with_name(f"{path.stem}_inference.yaml") for path in _overlays(config, bundle)]


def training_files(config: Mapping[str, Any], bundle: Path) -> list[Path]:
    """``train.yaml``, and those overlays of it that an inference must know of, with which a run was trained."""
    return [bundle / "configs" / "train.yaml", *_overlays(config, bundle)]


def _overlays(config: Mapping[str, Any], bundle: Path) -> list[Path]:
    """Overlays of ``train.yaml`` that a run was trained with, of those that an inference must know of."""
    found = []
    for path in sorted(bundle.glob("configs/*_inference.yaml")):
        overlay = path.with_name(path.name.replace("_inference", ""))
        ids = ConfigParser.load_config_file(overlay)
        if all(name in config for name in ids if "#" not in name):
            found.append(overlay)
    return found


def applied_knobs(config: dict[str, Any], bundle: Path, source: Path) -> dict[str, Any]:
    """Values of the knobs of ``inference.yaml`` with which an inference does what a run did.

    Args:
        config: configuration of the run.
        bundle: folder of its bundle.
        source: file of the configuration, for messages.

    Raises:
        DataError: the run segments volumes in a way for which ``inference.yaml`` has no knob.
    """
    files = inference_files(config, bundle)
    applied = ConfigParser.load_config_files([str(file) for file in files])
    knobs = {name: _value(config, name, applied) for name in shared_knobs(config, applied)}
    _check_components(config, bundle, set(knobs), source)
    return knobs


def _value(config: dict[str, Any], name: str, applied: Mapping[str, Any]) -> Any:
    """Value of a knob; an expression that ``inference.yaml`` cannot compute is computed with the data of the run."""
    value = config[name]
    if not isinstance(value, str):
        return value
    references = [reference.split("::")[0] for reference in ReferenceResolver.match_refs_pattern(value)]
    if all(reference in applied for reference in references):
        return value
    return ConfigParser(deepcopy(config)).get_parsed_content(name)


def finished_config(folder: Path) -> tuple[dict[str, Any], Path]:
    """Configuration of a finished run, and the folder that it had then.

    Raises:
        DataError: the folder holds no training, or one that is not finished.
    """
    manifest = Manifest(folder)
    config = manifest.content.get("config")
    if not isinstance(config, dict):
        raise DataError(
            f"Expected the folder of a training, found no manifest.json with its configuration in {folder}. Give the "
            "--output-dir of camtools train."
        )
    stages = manifest.content["stages"]
    # a stage that the configuration no longer has was left by an earlier, interrupted training with an overlay
    unfinished = [name for name, record in stages.items() if record["status"] != "done" and name in config]
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


def _check_components(config: dict[str, Any], bundle: Path, knobs: set[str], source: Path) -> None:
    """Refuse a run whose prediction differs from the bundle's in more than knobs of ``inference.yaml``."""
    default = ConfigParser.load_config_files([str(file) for file in training_files(config, bundle)])
    trained, expected = _predicting(config, knobs), _predicting(default, knobs)
    names = sorted(name for name in trained.keys() | expected.keys() if trained.get(name) != expected.get(name))
    changed = [name.replace("::", "#") for name in names if name not in knobs]
    if changed:
        raise DataError(
            f"Expected a run that differs from {bundle / 'configs/train.yaml'} in knobs of its inference.yaml, found "
            f"another '{changed[0]}' in {source}. Run {bundle / 'configs/inference.yaml'} with "
            "python -m monai.bundle run, and make the same change there."
        )


def _predicting(config: dict[str, Any], knobs: set[str]) -> dict[str, Any]:
    """Everything that segmenting a volume depends on, by id, without knobs and what they are computed from."""
    parser = ConfigParser(deepcopy(config))
    parser.resolve_macro_and_relative_ids()  # a run records "@a::b" for "@a#b"
    for name, value in {**WITHOUT_EFFECT, **dict.fromkeys(knobs)}.items():
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
