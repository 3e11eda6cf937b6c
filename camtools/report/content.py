"""The contents of a run's folder, part by part. A note replaces a part that is missing or cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from camtools.data.file_kinds import is_photograph
from camtools.report.panels import Panel, load_panel
from camtools.scores.metrics_csv import MetricsRow, read_metrics
from camtools.scores.pooled import POOLED_FILE, PooledRow, read_pooled

__all__ = ["SPLITS", "Part", "RunContent", "read_run"]

SPLITS = ("training", "validation", "test")
NETWORKS = {"classifier": "classify", "segmenter": "segment"}

T = TypeVar("T")


@dataclass(frozen=True)
class Part(Generic[T]):
    """One part of a run: its content, or None and a note that says what is missing and which step writes it."""

    content: T | None
    note: str = ""


@dataclass(frozen=True)
class RunContent:
    """Everything the report shows.

    Attributes:
        folder: the run's folder.
        manifest: ``manifest.json``.
        dataset: rows of ``dataset_check.json``.
        metrics: rows of ``metrics.csv``.
        pooled: rows of ``pooled_metrics.csv``, which not every bundle writes.
        histories: ``history.json`` by name of the network, for the networks that the run's configuration trains.
        panels: the cases of the contact sheet; cases whose file cannot be read are named in the note.
        pseudo_labels: folder of the maps and pseudo-labels, which may be that of another run.
        pseudo_masks: folder of the masks of the step threshold; None where the segmenter does not learn from them.
    """

    folder: Path
    manifest: Part[dict[str, Any]]
    dataset: Part[list[dict[str, Any]]]
    metrics: Part[list[MetricsRow]]
    pooled: Part[list[PooledRow]]
    histories: Mapping[str, Part[list[dict[str, float]]]]
    panels: Part[list[Panel]]
    pseudo_labels: Path
    pseudo_masks: Path | None

    def dataset_row(self, case: str) -> dict[str, Any]:
        """What the dataset check found about one case; empty where it is not listed."""
        return next((row for row in self.dataset.content or [] if row.get("case") == case), {})

    def truth_file(self, case: str) -> Path | None:
        """The mask of a validation or test case.

        Masks of training cases are not shown: the method learns from slice tags, so these masks must not guide the
        choice of settings.
        """
        row = self.dataset_row(case)
        return Path(row["label"]) if row.get("label") and row.get("split") != "training" else None

    def is_photograph(self, case: str) -> bool:
        """Whether the case is a 2D image without patient axes."""
        return is_photograph(self.dataset_row(case).get("image", ""))

    def channels_note(self, case: str) -> str:
        """What pictures show of a volume of several channels; empty for one channel and for photographs."""
        channels = self.dataset_row(case).get("channels", 1)
        if self.is_photograph(case) or channels == 1:
            return ""
        if channels == 3:
            return "Pictures show the 3 channels of the image as red, green and blue."
        return f"Pictures show the first of {channels} channels of the image."

    def dice(self, case: str) -> float | None:
        """Dice of a case's prediction, 0..1; None where it was not scored."""
        scored = (row for row in self.metrics.content or [] if row.output == "prediction" and row.case == case)
        return next((row.scores.dice for row in scored), None)


def read_run(folder: str | Path) -> RunContent:
    """Read what is there; see :class:`RunContent`.

    Raises:
        FileNotFoundError: there is no such folder.

    Example:
        >>> import tempfile
        >>> read_run(tempfile.mkdtemp()).metrics.note
        'metrics.csv is missing: the step evaluate writes it.'
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"Expected the folder of a run, found none at {root}. Give the run's output_dir.")
    manifest: Part[dict[str, Any]] = _read(root / "manifest.json", "check", lambda path: _json(path, dict))
    stages = (manifest.content or {}).get("stages", {})
    shared = Path(stages.get("pseudo_label", {}).get("folder", root))
    return RunContent(
        folder=root,
        manifest=manifest,
        dataset=_read(root / "dataset_check.json", "check", _rows),
        metrics=_read(root / "metrics.csv", "evaluate", read_metrics),
        pooled=_read(root / POOLED_FILE, "evaluate", read_pooled),
        histories={name: _history(root, name, step, stages) for name, step in _networks(manifest.content).items()},
        # runs that share their pseudo-labels share the panels as well, in that stage's folder
        panels=_panels(next((path for path in (shared / "panels", root / "panels") if path.is_dir()), root / "panels")),
        pseudo_labels=shared if shared != root and shared.is_dir() else root / "pseudo_labels",
        pseudo_masks=root / "pseudo_masks" if _thresholds_maps(manifest.content) else None,
    )


def _thresholds_maps(manifest: dict[str, Any] | None) -> bool:
    """Whether the method of the run has the step threshold; the folder may hold masks of another method."""
    config = (manifest or {}).get("config") or {}
    methods = config.get("methods")
    chosen = methods.get(config.get("method")) if isinstance(methods, dict) else None
    return "threshold" in config and isinstance(chosen, dict) and chosen.get("labels") == ["mask"]


def _read(path: Path, step: str, reader: Callable[[Path], T]) -> Part[T]:
    if not path.is_file():
        return Part(None, f"{path.name} is missing: the step {step} writes it.")
    try:
        return Part(reader(path))
    except (OSError, ValueError) as error:
        return Part(None, f"{path.name} cannot be read ({error}). Run the step {step} again.")


def _networks(manifest: dict[str, Any] | None) -> dict[str, str]:
    """Networks of the run and the steps that train them; all of them where the configuration is not known."""
    config = (manifest or {}).get("config")
    return {name: step for name, step in NETWORKS.items() if not config or step in config}


def _history(root: Path, name: str, step: str, stages: Mapping[str, Any]) -> Part[list[dict[str, float]]]:
    """The network's curves; runs that share a classifier have its folder in their manifest only."""
    folders = [root / name, Path(stages.get(step, {}).get("folder", root / name))]
    paths = [folder / "history.json" for folder in folders]
    return _read(next((path for path in paths if path.is_file()), paths[0]), step, _rows)


def _json(path: Path, kind: type) -> Any:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, kind):
        raise ValueError(f"expected a JSON {kind.__name__}, found a {type(content).__name__}")
    return content


def _rows(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _json(path, list)
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected a list of JSON objects, found other entries")
    return rows


def _panels(folder: Path) -> Part[list[Panel]]:
    panels, unreadable = [], []
    for path in sorted(folder.rglob("*.npz")):
        if path.name.startswith(".part-"):
            continue
        try:
            panels.append(load_panel(path))
        # np.load raises its own kinds of error (zipfile, pickle, end of file) for a damaged archive
        except Exception as error:
            unreadable.append(f"{path.name} ({error})")
    if unreadable:
        note = f"Panels that cannot be read: {', '.join(unreadable)}. Run the step pseudo_label again."
        return Part(panels or None, note)
    return Part(panels) if panels else Part(None, "panels/ holds no panel: the step pseudo_label writes them.")
