"""Small finished runs to report on, and a reader of the page."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from camtools.data.files import write_json
from camtools.metrics import SegmentationScores
from camtools.report.content import RunContent, read_run
from camtools.report.panels import Panel
from camtools.scores.metrics_csv import MetricsRow, write_metrics
from tests.conftest import write_volume

SHAPE, SLICE = (24, 20, 6), 4
LAYERS = ("block1", "block2")
STEPS = ["Image", "Map block1", "Map block2", "Fused map", "Seeds", "Pseudo-label", "Prediction"]


def corner_mask() -> np.ndarray:
    """One block at the patient's right and front of one slice: nothing about it is symmetric."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[15:22, 12:19, SLICE] = 1
    mask[15:17, 8:12, SLICE] = 1
    return mask


def make_panel(case: str = "case_1", **changes: Any) -> Panel:
    mask = corner_mask()[..., SLICE] > 0
    image = 100.0 * mask
    image[20:, 17:] = 300.0
    foreground, background = np.zeros_like(mask), np.zeros_like(mask)
    foreground[18, 15] = True
    background[[13, 23, 13, 23], [6, 6, 19, 19]] = True
    soft = mask.astype(np.float32)
    arrays = {"maps": np.stack([soft, 0.5 * soft]), "cam": soft, "spl": soft}
    panel = Panel(case, SLICE, None, image, LAYERS, arrays)
    panel = replace(panel, arrays=arrays | {"foreground_seeds": foreground, "background_seeds": background})
    return replace(panel, **changes)


def save_panel(folder: Path, panel: Panel) -> None:
    path = folder / "panels" / f"{panel.case}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    axis = -1 if panel.slice_axis is None else panel.slice_axis
    named = {"case": panel.case, "slice_index": panel.slice_index, "slice_axis": axis, "layers": np.array(panel.layers)}
    np.savez_compressed(path, image=panel.image, **named, **panel.arrays)


def make_run(folder: Path, names: tuple[str, str] = ("case_1", "case_2"), method: str = "umcam+spl") -> Path:
    rows = [{"split": "training", "case": "t", "image": "t.nii.gz", "slices": 6, "positive_slices": 2}]
    scores = []
    for name, split, dice in zip(names, ("validation", "test"), (0.5, 0.75), strict=True):
        save_panel(folder, make_panel(name))
        label = write_volume(folder / "data" / f"{name}.nii.gz", corner_mask())
        write_volume(folder / "predictions" / f"{name}.nii.gz", np.roll(corner_mask(), 1, axis=0))
        for ending in ("cam", "spl"):
            write_volume(folder / "pseudo_labels" / f"{name}_{ending}.nii.gz", 0.5 * corner_mask().astype(np.float32))
        rows.append({"split": split, "case": name, "image": label, "label": label, "slices": 6, "positive_slices": 1})
        scores.append(MetricsRow(split, "prediction", name, None, SegmentationScores(dice, dice / 2, 2.0, 3.0)))
        scores.append(MetricsRow(split, "pseudo_mask", name, SLICE, SegmentationScores(0.25, 0.2, 4.0)))
    write_json(rows, folder / "dataset_check.json")
    write_metrics(folder / "metrics.csv", scores)
    for network, metric in (("classifier", "accuracy"), ("segmenter", "dice")):
        write_json(
            [{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.4, metric: 0.9}], folder / network / "history.json"
        )
    stages = {
        "classify": {"status": "done", "seconds": 75.2, "outputs": {"model.pt": 2_500_000}},
        "segment": {"status": "running"},
    }
    versions = {"versions": {"torch": "2.15.0"}, "camtools": "0.1.0", "python": "3.11.9"}
    config = {"lr": 0.01, "layers": ["<x>"], "classify": {}, "segment": {}}
    manifest = {"method": method, "seed": 7, "config": config, "stages": stages, **versions}
    write_json(manifest, folder / "manifest.json")
    return folder


def views_of(html: str) -> list[dict[str, Any]]:
    """The data of the viewer's cases."""
    return [
        json.loads(data) for data in re.findall(r'<script type="application/json" id="view-\d+">(.*?)</script>', html)
    ]


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def change_rows(run: Path, case: str, **changes: Any) -> RunContent:
    """The run with another row of the dataset check for one case."""
    rows = json.loads((run / "dataset_check.json").read_text())
    write_json([row | (changes if row["case"] == case else {}) for row in rows], run / "dataset_check.json")
    return read_run(run)


def picture(source: str) -> np.ndarray:
    content = base64.b64decode(source.split("base64,")[1])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(int)


def centre(alpha: np.ndarray) -> tuple[float, float]:
    """Mean row and column of what is visible, as shares of the picture."""
    rows, columns = np.nonzero(alpha)
    return (rows.mean() + 0.5) / alpha.shape[0], (columns.mean() + 0.5) / alpha.shape[1]
