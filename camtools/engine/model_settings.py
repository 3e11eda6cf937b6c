"""Settings that a model carries: those of its training, and the check that it is applied with the same ones."""

from __future__ import annotations

import json
import logging
import math
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from camtools import __version__
from camtools.data.errors import DataError
from camtools.engine.config import referenced_config
from camtools.engine.knobs import NEUTRAL_IDS, SPEED_IDS
from camtools.engine.records import read_json_object
from camtools.networks.weight_settings import read_settings

__all__ = ["applied_config", "check_weights", "settings_of_training", "shared_knobs"]

logger = logging.getLogger("camtools")

# ids that train.yaml and inference.yaml share and that are no knobs
NO_KNOBS = NEUTRAL_IDS | {"imports", "initialize", "run", "finalize", "slicing"}
# the item of train.yaml that segments volumes
PREDICTION = "prediction#pipeline"
# ``pretrained`` acts on an inference through the values of ``norm`` and ``unit_images`` alone, and may be a path
NOT_COMPARED = SPEED_IDS | {"pretrained"}


def shared_knobs(config: Mapping[str, Any], applied: Mapping[str, Any]) -> list[str]:
    """Knobs that a training and an inference share: values at the top level that are no components and no places.

    Args:
        config: configuration of a training.
        applied: configuration of an inference.

    Example:
        >>> shared_knobs({"width": 1.0, "device": "cpu", "seed": 0}, {"width": 0.5, "device": "cuda", "gate": True})
        ['width']
    """
    shared = [name for name in applied if name in config and name not in NO_KNOBS]
    return [name for name in shared if not isinstance(applied[name], dict) and not isinstance(config[name], dict)]


def applied_config(bundle: str | Path) -> dict[str, Any]:
    """``inference.yaml`` of a bundle, with the ids of overlays such as ``segmenter_inference.yaml``; may be empty."""
    files = sorted(Path(bundle).glob("configs/*inference.yaml"), key=lambda path: len(path.name))
    found: dict[str, Any] = {}
    for path in files:
        found = ConfigParser.load_config_file(path) | found
    return found


def settings_of_training(parser: ConfigParser, build: str) -> dict[str, Any] | None:
    """What is stored with the weights of a training.

    Args:
        parser: configuration of the training.
        build: id of the component that trains.

    Returns:
        ``bundle``: name of the bundle. ``method``: the method of the training. ``patches``: whether it learns from tags
        of patches. ``knobs``: values, computed if need be, of the knobs that the training depends on and that its
        bundle's ``inference.yaml`` has too. ``others``: the same for knobs that only the prediction of the run depends
        on, such as ``gate``. None outside a bundle.
    """
    bundle = parser.get_parsed_content("bundle_root") if "bundle_root" in parser else None
    applied = applied_config(bundle) if bundle else {}
    if not applied:
        return None
    names = [name for name in shared_knobs(parser.get(), applied) if name not in NOT_COMPARED]
    values = {name: _plain(parser.get_parsed_content(name)) for name in names}
    training = referenced_config(parser, build)
    prediction = referenced_config(parser, PREDICTION) if PREDICTION in parser else {}
    return {
        "camtools": __version__,
        "bundle": _bundle_name(str(bundle)),
        "method": parser.get("method"),
        "patches": "patch_size" in parser,
        "knobs": {name: value for name, value in values.items() if name in training},
        "others": {name: value for name, value in values.items() if name in prediction and name not in training},
    }


def check_weights(parser: ConfigParser, inputs: Iterable[Any], build: str) -> None:
    """Check that an inference has the settings of the training of its weights. A training is not checked.

    Weights without settings, which camtools wrote before it stored them, give a warning. So do knobs that say only how
    masks are made of the trained network.

    Args:
        parser: configuration, which has the id ``checkpoint`` if it is an inference.
        inputs: files of weights; other entries are not looked at.
        build: id of the component that uses the weights.

    Raises:
        DataError: the weights are of another bundle, or a knob has another value than in training. The message names
            all of these knobs.
    """
    if "checkpoint" not in parser:
        return
    for path in inputs:
        if isinstance(path, str | Path) and Path(path).suffix == ".pt" and Path(path).is_file():
            settings = read_settings(path)
            if settings is None:
                _warn_of_missing(path)
            else:
                _check_bundle(parser, path, settings)
                _check_knobs(parser, path, settings["knobs"])
                used = referenced_config(parser, build)
                _warn_of_others(
                    parser, path, {name: settings["others"][name] for name in settings["others"] if name in used}
                )


def _check_bundle(parser: ConfigParser, path: str | Path, settings: Mapping[str, Any]) -> None:
    expected = _bundle_name(parser.get_parsed_content("bundle_root"))
    found = settings.get("bundle")
    if expected and found and found != expected:
        raise DataError(
            f"Expected weights that the bundle {expected} trained, found weights of {found} in {path}. Run the "
            f"inference.yaml of {found}, or give other weights."
        )


def _check_knobs(parser: ConfigParser, path: str | Path, trained: Mapping[str, Any]) -> None:
    differing = _differing(parser, trained)
    if differing:
        options = " ".join(f"--{name} {shlex.quote(_text(before))}" for name, (before, _) in differing.items())
        raise DataError(
            f"Expected the settings with which {path} was trained, found {_listed(differing)}. Add {options}, or run "
            "the bundle that the training wrote: the folder bundle/ of its run has its settings."
        )


def _warn_of_others(parser: ConfigParser, path: str | Path, trained: Mapping[str, Any]) -> None:
    differing = _differing(parser, trained)
    if differing:
        logger.warning("%s: masks are made in another way than in its training: %s", path, _listed(differing))


def _differing(parser: ConfigParser, trained: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Values in training and here, of the knobs where they differ."""
    found = {}
    for name, before in trained.items():
        # a training without slice_axis chose it for its volumes, which says nothing about other volumes
        if name not in parser or (name == "slice_axis" and before is None):
            continue
        here = _plain(parser.get_parsed_content(name))
        if not _equal(before, here):
            found[name] = (before, here)
    return found


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=1e-6)
    return bool(first == second)


def _listed(differing: Mapping[str, tuple[Any, Any]]) -> str:
    parts = [f"{name} {_text(here)} instead of {_text(before)}" for name, (before, here) in differing.items()]
    return ", ".join(parts)


def _text(value: Any) -> str:
    """A value as on a command line."""
    return value if isinstance(value, str) else json.dumps(value)


def _plain(value: Any) -> Any:
    """A value as JSON gives it back; text for anything that is no JSON."""
    return json.loads(json.dumps(value, default=str))


def _bundle_name(bundle: str | Path) -> str | None:
    """Name of a bundle in its ``metadata.json``."""
    content, _ = read_json_object(Path(bundle) / "configs" / "metadata.json")
    return None if content is None else content.get("name")


def _warn_of_missing(path: str | Path) -> None:
    logger.warning(
        "%s holds no settings of its training, so nothing checks that pixel_size, width and other knobs are the same. "
        "To add them, run the command of its training again: finished steps are skipped, and the folder bundle/ of the "
        "run gets weights with their settings.",
        path,
    )
