"""What a model card says about a run: numbers, and nothing that identifies a patient or a machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from camtools import __version__
from camtools.data.splits import Splits
from camtools.engine.manifest import PACKAGES
from camtools.engine.records import read_json_object
from camtools.report.summaries import Summary, summarise
from camtools.scores.metrics_csv import read_metrics
from camtools.scores.pooled import POOLED_FILE, PooledRow, read_pooled

__all__ = ["RunFacts", "SplitFacts", "read_facts"]

LONGEST_NAME = 40
Range = tuple[float, float]


@dataclass(frozen=True)
class SplitFacts:
    """Size of a split.

    Attributes:
        name: such as ``"training"``.
        volumes: how many.
        tagged: tagged slices, or patches, of these volumes.
        positive: how many of these show the object.
    """

    name: str
    volumes: int
    tagged: int
    positive: int


@dataclass(frozen=True)
class RunFacts:
    """Facts of a finished run.

    Attributes:
        method: its method.
        target: name of the object in ``dataset.json``; None: it has none, or the volumes are built-in phantoms.
        unit: ``"slices"`` or ``"patches"``: what was tagged.
        tags: where the tags of the training volumes come from, in words.
        channels: channels of an image.
        channel_names: their names in ``dataset.json`` (``channel_names`` or ``modality``), in order; empty: it has none
            for these channels.
        splits: the splits that have volumes.
        in_plane: smallest and largest size of a pixel, in mm; None for 2D images.
        between: smallest and largest distance of neighbouring slices, in mm; None for 2D images.
        scores: of the predictions, per split.
        pooled: of the predictions, from pixels pooled over a split; empty for most bundles.
        versions: of the packages.
    """

    method: str
    target: str | None
    unit: str
    tags: str
    channels: int
    channel_names: Sequence[str]
    splits: Sequence[SplitFacts]
    in_plane: Range | None
    between: Range | None
    scores: Sequence[Summary]
    pooled: Sequence[PooledRow]
    versions: Mapping[str, str]


def read_facts(parser: ConfigParser, folder: Path) -> RunFacts:
    """Collect the facts of the running, finished training.

    Args:
        parser: its configuration.
        folder: folder of the run.
    """
    content = _dataset_json(str(parser.get("dataset_dir")))
    channels = int(parser.get_parsed_content("in_channels"))
    rows = json.loads((folder / "dataset_check.json").read_text(encoding="utf-8"))
    unit = "patches" if any("patches" in row for row in rows) else "slices"
    splits: Splits = parser.get_parsed_content("splits")
    metrics = folder / "metrics.csv"
    pooled = folder / POOLED_FILE
    summaries = summarise(read_metrics(metrics)) if metrics.is_file() else []
    return RunFacts(
        method=str(parser.get_parsed_content("method")),
        target=_target(content),
        unit=unit,
        tags=_tags(splits, unit),
        channels=channels,
        channel_names=_channel_names(content, channels),
        splits=[_split(name, unit, rows) for name in splits.by_name if any(row["split"] == name for row in rows)],
        in_plane=_range([size for row in rows for size in _in_plane(row)]),
        between=_range([row["spacing"][row["slice_axis"]] for row in rows if "slice_axis" in row]),
        scores=[summary for summary in summaries if summary.output == "prediction"],
        pooled=[row for row in read_pooled(pooled) if row.output == "prediction"] if pooled.is_file() else [],
        versions={"camtools": __version__} | {name: version(name) for name in PACKAGES},
    )


def _split(name: str, unit: str, rows: Sequence[Mapping[str, Any]]) -> SplitFacts:
    own = [row for row in rows if row["split"] == name]
    tagged = sum(row.get(unit, 0) for row in own)
    return SplitFacts(name, len(own), tagged, sum(row.get(f"positive_{unit}", 0) for row in own))


def _tags(splits: Splits, unit: str) -> str:
    key = "patch_labels" if unit == "patches" else "slice_labels"
    given = sum(bool(item.get(key)) for item in splits.training)
    derived = len(splits.training) - given
    parts = [f"given for {given} of {len(splits.training)} training volumes"] if given else []
    if derived:
        parts.append(f"derived from masks for {derived} of {len(splits.training)} training volumes")
    return " and ".join(parts)


def _in_plane(row: Mapping[str, Any]) -> list[float]:
    if "slice_axis" not in row:
        return []
    return [size for axis, size in enumerate(row["spacing"]) if axis != row["slice_axis"]]


def _range(values: Sequence[float]) -> Range | None:
    return (min(values), max(values)) if values else None


def _dataset_json(dataset_dir: str) -> dict[str, Any]:
    """Empty for an expression, which makes the phantoms of the bundle."""
    if dataset_dir.startswith("$"):
        return {}
    content, _ = read_json_object(Path(dataset_dir) / "dataset.json")
    return content or {}


def _target(content: Mapping[str, Any]) -> str | None:
    """Name of the label 1."""
    labels = content.get("labels")
    name = labels.get("1") if isinstance(labels, dict) else None
    return name if _is_name(name) else None


def _channel_names(content: Mapping[str, Any], channels: int) -> list[str]:
    """Names of all channels, or none."""
    given = content.get("channel_names", content.get("modality"))
    if not isinstance(given, dict) or set(given) != {str(number) for number in range(channels)}:
        return []
    names = [given[str(number)] for number in range(channels)]
    return names if all(_is_name(name) for name in names) else []


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isprintable() and 0 < len(name) <= LONGEST_NAME
