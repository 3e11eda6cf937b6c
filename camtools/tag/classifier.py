"""The trained classifier of a run or of a bundle, for suggestions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from camtools.data.errors import DataError
from camtools.data.files import file_hash
from camtools.data.geometry import SliceAxis, volume_to_slices
from camtools.engine.manifest import Manifest
from camtools.engine.model_settings import check_weights
from camtools.engine.trained_run import trained_bundle
from camtools.networks.weight_settings import read_settings
from camtools.tag.suggest import Classifier, Suggestions

__all__ = ["TrainedClassifier", "load_classifier", "suggestions_of"]

BATCH = 8


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier of slices and its settings.

    Attributes:
        parser: configuration that holds them.
        network: id of the network.
        weights: file of its weights.
    """

    parser: ConfigParser
    network: str
    weights: Path


def suggestions_of(run: Path, slice_axis: SliceAxis) -> Suggestions:
    """Suggestions of the classifier that a training has left.

    The settings are those of the bundle that the training wrote. If it wrote none, or has not come that far, they are
    those of its ``manifest.json``.

    Args:
        run: folder of a run, or of a bundle with trained weights.
        slice_axis: of the folder that is tagged.

    Raises:
        DataError: the folder has no trained classifier of slices, or its weights were trained with other settings.
    """
    bundle = trained_bundle(run)
    found = _of_run(run) if bundle is None else _of_bundle(bundle)
    return Suggestions(lambda: load_classifier(found, slice_axis), file_hash(found.weights))


def _of_run(run: Path) -> TrainedClassifier:
    manifest = Manifest(run)
    parser = _parser(manifest.content.get("config", {}), run)
    stage = manifest.stage("classify")
    folder = stage[0] if stage else run / "classifier"
    return _checked(TrainedClassifier(parser, "classifier#network", folder / "model.pt"), run, "patch_size" in parser)


def _of_bundle(bundle: Path) -> TrainedClassifier:
    parser = _parser(ConfigParser.load_config_file(bundle / "configs" / "inference.yaml"), bundle)
    parser["bundle_root"] = str(bundle)
    network = "classifier#network" if "classifier#network" in parser else "classifier"
    knob = "classifier_checkpoint" if "classifier_checkpoint" in parser else "checkpoint"
    weights = Path(parser.get_parsed_content(knob))
    training = bundle / "configs" / "train.yaml"
    patches = training.is_file() and "patch_size" in ConfigParser.load_config_file(training)
    found = _checked(TrainedClassifier(parser, network, weights), bundle, patches)
    check_weights(parser, [weights], network)
    return found


def _parser(config: dict[str, Any], folder: Path) -> ConfigParser:
    parser = ConfigParser(config)
    if "preprocessing" not in parser or "classifier" not in parser:
        raise DataError(
            f"Expected the folder of a training or of a trained bundle, found no settings of a classifier in {folder}. "
            "Give --suggest the --output-dir of camtools train, or its folder bundle/."
        )
    return parser


def _checked(found: TrainedClassifier, folder: Path, patches: bool) -> TrainedClassifier:
    if not found.weights.is_file():
        raise DataError(
            f"Expected a trained classifier at {found.weights}, found none. Name the folder of a run whose classifier "
            "is trained with --suggest."
        )
    if patches or (read_settings(found.weights) or {}).get("patches"):
        raise DataError(
            f"Expected {folder} to have trained a classifier of slices (umcam, cfdcam, ltgradcam, auto), found one of "
            "patches. Give --suggest another run."
        )
    return found


def load_classifier(trained: TrainedClassifier, slice_axis: SliceAxis) -> Classifier:
    """The network with its weights, and the bundle's preprocessing before it.

    Args:
        trained: the classifier.
        slice_axis: replaces the one of the training's own data.
    """
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    parser = trained.parser
    parser.update({"slicing": slice_axis, "slice_axis": slice_axis, "device": str(device)})
    network: torch.nn.Module = parser.get_parsed_content(trained.network)
    network.load_state_dict(torch.load(trained.weights, map_location="cpu", weights_only=True))
    network.to(device).eval()
    prepare: Callable[..., dict[str, torch.Tensor]] = parser.get_parsed_content("preprocessing")

    def probabilities(path: Path) -> list[float]:
        slices = volume_to_slices(prepare({"image": str(path)})["image"].as_tensor())  # type: ignore[attr-defined]
        missing = [max(int(getattr(network, "smallest", 1)) - size, 0) for size in slices.shape[2:]]
        if any(missing):
            slices = torch.nn.functional.pad(slices, (0, missing[1], 0, missing[0]), mode="replicate")
        found = []
        with torch.no_grad():
            for batch in torch.split(slices, BATCH):
                logits = network(batch.to(device).contiguous()).float()
                found.append(logits.sigmoid()[:, 0] if logits.shape[1] == 1 else logits.softmax(dim=1)[:, 1])
        return [float(p) for p in torch.cat(found).cpu()]

    return probabilities
