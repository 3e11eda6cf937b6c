"""The trained classifier of a run, as its ``manifest.json`` describes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from camtools.data.errors import DataError
from camtools.data.files import file_hash
from camtools.data.geometry import SliceAxis, volume_to_slices
from camtools.engine.manifest import Manifest
from camtools.tag.suggest import Classifier, Suggestions

__all__ = ["load_classifier", "suggestions_of"]

NEEDED = ("classifier#network", "preprocessing")
BATCH = 8


def suggestions_of(run: Path, slice_axis: SliceAxis) -> Suggestions:
    """Suggestions of the classifier that a run has trained.

    Args:
        run: folder of the run, with ``manifest.json``.
        slice_axis: of the folder that is tagged.

    Raises:
        DataError: the run has no trained classifier of slices.
    """
    manifest = Manifest(run)
    weights = _weights(run, manifest)
    config = manifest.content.get("config", {})
    parser = ConfigParser(config)
    missing = [name for name in NEEDED if name not in parser]
    if missing or "patch_size" in parser:
        raise DataError(
            f"Expected {run} to have trained a classifier of slices (umcam, cfdcam, ltgradcam), found a run without "
            f"{missing[0] if missing else 'one'}. Choose another --suggest."
        )
    return Suggestions(lambda: load_classifier(parser, weights, slice_axis), file_hash(weights))


def _weights(run: Path, manifest: Manifest) -> Path:
    stage = manifest.stage("classify")
    folder = stage[0] if stage else run / "classifier"
    path = folder / "model.pt"
    if not path.is_file():
        raise DataError(
            f"Expected a trained classifier at {path}, found none. Name the folder of a run whose classifier is "
            "trained with --suggest."
        )
    return path


def load_classifier(parser: ConfigParser, weights: Path, slice_axis: SliceAxis) -> Classifier:
    """The network with its weights, and the bundle's preprocessing before it.

    Args:
        parser: configuration of the run.
        weights: file of the classifier's weights.
        slice_axis: replaces the one of the run's own data.
    """
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    parser.update({"slicing": slice_axis, "device": str(device)})
    if "classifier#network#pretrained" in parser:
        parser["classifier#network#pretrained"] = False
    network: torch.nn.Module = parser.get_parsed_content("classifier#network")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
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
