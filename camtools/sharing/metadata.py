"""``metadata.json`` of a bundle that a training writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from camtools.data.files import write_json
from camtools.sharing.facts import RunFacts

__all__ = ["write_metadata"]

# keys of metadata.json for versions of packages
VERSIONS = {"monai_version": "monai", "pytorch_version": "torch", "numpy_version": "numpy"}


def write_metadata(source: Path, target: Path, facts: RunFacts) -> dict[str, Any]:
    """Copy the metadata of the bundle that was trained, with the facts of the run; returns them.

    The name stays that of the bundle, by which ``camtools.engine.model_settings.check_weights`` knows its weights.
    """
    metadata: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    metadata |= {key: facts.versions[name].partition("+")[0] for key, name in VERSIONS.items()}
    metadata["required_packages_version"]["camtools"] = facts.versions["camtools"]
    data = metadata["network_data_format"]
    image, pred = data["inputs"]["image"], data["outputs"]["pred"]
    if image["num_channels"] != facts.channels:
        image["num_channels"] = facts.channels
        image["channel_def"] = {str(channel): f"channel {channel}" for channel in range(facts.channels)}
        metadata["image_classes"] = f"{facts.channels} channels, scaled as inference.yaml says"
    if facts.channel_names:
        image["channel_def"] = {str(channel): name for channel, name in enumerate(facts.channel_names)}
    if facts.target is not None and facts.target != pred["channel_def"]["1"]:
        pred["channel_def"]["1"] = facts.target
        metadata["task"] = f"Weakly supervised segmentation ({facts.target}) from tags of {facts.unit}"
    volumes = ", ".join(f"{split.volumes} {split.name}" for split in facts.splits)
    metadata["data_source"] = f"volumes of the training: {volumes}; not part of the bundle"
    metadata["eval_metrics"] = _scores(facts)
    write_json(metadata, target)
    return metadata


def _scores(facts: RunFacts) -> dict[str, float]:
    """Mean scores by name of split and score, such as ``test_dice``."""
    found = {}
    for summary in facts.scores:
        for name, (mean, _) in summary.spreads.items():
            found[f"{summary.split}_{name}"] = round(mean, 4)
    return found
