"""The sweep over truncation and layers: counts against maps thresholded by hand, tables, plot, command."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.filters import threshold_otsu
from typer.testing import CliRunner

from camtools.cams import FullGrad, GradCAM, LayerCAM, LTFullGrad, LTGradCAM, LTLayerCAM
from camtools.cli import app
from camtools.fusion import layer_sum
from camtools.metrics import PixelCounts
from camtools.report.map_pictures import write_lt_plot
from camtools.scores.classifier import TrainedClassifier
from camtools.scores.lt_sweep import PERCENTILES, LTSweep, format_lt_sweep, sweep_lt, write_lt_sweep
from camtools.scores.map_methods import Cam
from camtools.scores.validation_maps import object_slices
from tests.cam_classifiers import TRAIN, overrides, save_weights, tiny_classifier
from tests.conftest import write_dataset
from tests.reference import metrics as reference

NAMES = ["S1", "S2", "S3", "S4", "S5", "S3+S4+S5", "S1+S2+S3+S4+S5"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    return tiny_classifier(write_dataset(tmp_path_factory.mktemp("data"), {"validation": 2, "test": 1}))


@pytest.fixture(scope="module")
def sweep(classifier: TrainedClassifier) -> LTSweep:
    return sweep_lt(classifier)


def pooled(classifier: TrainedClassifier, cam: Cam) -> dict[str, float]:
    """Pooled scores on validation of maps that are added and thresholded one slice at a time."""
    pairs = []
    for item in classifier.splits["validation"]:
        found = object_slices(classifier, item)
        assert found is not None
        for image, mask in zip(found[1], found[0].masks, strict=True):
            values = layer_sum(cam(image[None], target=1))[0, 0].double().numpy()
            pairs.append((values > threshold_otsu(values), mask[0].numpy()))
    return reference.pooled(pairs)


def scores(counts: PixelCounts) -> dict[str, float]:
    return {name: getattr(counts, name) for name in ("precision", "recall", "f1", "iou")}


@pytest.mark.parametrize("percentile", [0, 20, 90])
def test_curves_are_the_three_methods_at_each_percentile(
    classifier: TrainedClassifier, sweep: LTSweep, percentile: int
) -> None:
    network = classifier.network
    cams = {
        "LTGradCAM": LTGradCAM(network, network.cam_layers, percentile=percentile),
        "LTLayerCAM": LTLayerCAM(network, network.cam_layers, percentile=percentile),
        "LTFullGrad": LTFullGrad(network, percentile=percentile),
    }
    assert list(sweep.truncated) == list(cams)
    for method, cam in cams.items():
        assert len(sweep.truncated[method]) == len(PERCENTILES) == 10
        counts = sweep.truncated[method][PERCENTILES.index(percentile)]
        assert scores(counts) == pytest.approx(pooled(classifier, cam), abs=3e-3)


def test_dashed_lines_are_the_methods_without_truncation(classifier: TrainedClassifier, sweep: LTSweep) -> None:
    network = classifier.network
    cams = {
        "LTGradCAM": GradCAM(network, network.cam_layers),
        "LTLayerCAM": LayerCAM(network, network.cam_layers),
        "LTFullGrad": FullGrad(network),
    }
    for method, cam in cams.items():
        assert scores(sweep.untruncated[method]) == pytest.approx(pooled(classifier, cam), abs=3e-3)
    assert sweep.truncated["LTLayerCAM"][0] == sweep.untruncated["LTLayerCAM"]
    assert sweep.untruncated["LTGradCAM"] == sweep.layers["S1+S2+S3+S4+S5"]
    assert sweep.truncated["LTGradCAM"][0] != sweep.untruncated["LTGradCAM"]


def test_layers_are_grad_cam_alone_and_added(classifier: TrainedClassifier, sweep: LTSweep) -> None:
    network = classifier.network
    assert list(sweep.layers) == NAMES
    for name, counts in sweep.layers.items():
        chosen = [network.cam_layers[int(stage[1:]) - 1] for stage in name.split("+")]
        assert scores(counts) == pytest.approx(pooled(classifier, GradCAM(network, chosen)), abs=3e-3)
    assert len(set(sweep.layers.values())) > 3


def test_a_classifier_of_three_stages_has_four_rows(classifier: TrainedClassifier) -> None:
    stages = classifier.network.cam_layers
    try:
        classifier.network.cam_layers = stages[-3:]
        layers = sweep_lt(classifier, split="test").layers
    finally:
        classifier.network.cam_layers = stages
    assert list(layers) == ["S1", "S2", "S3", "S1+S2+S3"]


def test_training_is_refused(classifier: TrainedClassifier) -> None:
    with pytest.raises(
        ValueError,
        match="split: expected validation or test, found 'training'",
    ):
        sweep_lt(classifier, split="training")


def hand_made() -> LTSweep:
    """LTGrad-CAM is best at percentile 20, LTLayer-CAM at 0, LTFullGrad where it is not truncated."""
    truncated = {
        "LTGradCAM": [PixelCounts(4, 6 - (percentile == 20), 0) for percentile in PERCENTILES],
        "LTLayerCAM": [PixelCounts(50 - percentile // 10, 50, 0) for percentile in PERCENTILES],
        "LTFullGrad": [PixelCounts(1, 9, 0) for _ in PERCENTILES],
    }
    untruncated = {"LTGradCAM": PixelCounts(1, 4, 0), "LTLayerCAM": PixelCounts(1, 3, 0), "LTFullGrad": PixelCounts(3)}
    layers = {"S1": PixelCounts(1, 1, 0), "S2": PixelCounts(3, 0, 3), "S1+S2": PixelCounts(3, 1, 0)}
    return LTSweep("validation", truncated, untruncated, layers)


def test_tables_by_hand() -> None:
    lines = format_lt_sweep(hand_made()).splitlines()
    assert lines[2] == "| Percentile | LTGradCAM | LTLayerCAM | LTFullGrad |"
    assert lines[4] == "| 0 | 40.00 | **50.00** | 10.00 |"
    assert lines[6] == "| 20 | **44.44** | 48.98 | 10.00 |"
    assert lines[14] == "| not truncated | 20.00 | 25.00 | **100.00** |"
    assert lines[20:] == [
        "| S1 | 50.00 | 50.00 | **100.00** | 66.67 |",
        "| S2 | 50.00 | **100.00** | 50.00 | 66.67 |",
        "| S1+S2 | **75.00** | 75.00 | **100.00** | **85.71** |",
    ]


def test_files_by_hand(tmp_path: Path) -> None:
    write_lt_sweep(hand_made(), tmp_path)
    lines = (tmp_path / "lt_sweep.csv").read_text().splitlines()
    assert lines[0] == "split,method,percentile,miou_percent,precision_percent,recall_percent,f1_percent"
    assert lines[3] == "validation,LTGradCAM,20,44.4444,44.4444,100,61.5385"
    assert lines[11] == "validation,LTGradCAM,,20,20,100,33.3333"
    assert len(lines) == 1 + 3 * 11
    layers = (tmp_path / "lt_layers.csv").read_text().splitlines()
    assert layers[2] == "validation,S2,50,100,50,66.6667"


def test_plot_has_a_curve_and_a_dashed_line_for_each_method(tmp_path: Path) -> None:
    write_lt_plot(hand_made(), tmp_path / "plot.png")
    picture = np.asarray(Image.open(tmp_path / "plot.png").convert("RGB")).astype(int)
    rows = {}
    for name, colour in {"blue": (31, 119, 180), "green": (44, 160, 44), "orange": (255, 127, 14)}.items():
        found = np.argwhere(np.abs(picture - colour).sum(axis=-1) < 30)
        curve = found[found[:, 1] < 0.6 * picture.shape[1]]
        rows[name] = curve[:, 0]
    # Higher scores lie higher: LTLayer-CAM's curve over LTGrad-CAM's, and the dashed 100% of FullGrad over all.
    assert np.median(rows["green"]) < np.median(rows["blue"])
    assert rows["orange"].min() < rows["green"].min()


def test_command_writes_tables_and_plot(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", {"training": 1, "validation": 1})
    folder = tmp_path / "sweep"
    pairs = overrides(dataset, save_weights(tmp_path / "c"))
    result = CliRunner().invoke(app, ["sweep-lt", TRAIN, "--output-dir", str(folder), *pairs])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in folder.iterdir()) == ["lt_layers.csv", "lt_sweep.csv", "lt_sweep.png"]
    with (folder / "lt_layers.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["layers"] for row in rows] == NAMES
    assert f"{float(rows[-1]['miou_percent']):.2f}" in result.output
    failed = CliRunner().invoke(app, ["sweep-lt", TRAIN, "--output-dir", str(folder), "--split", "training", *pairs])
    assert failed.exit_code == 1
    assert "Error: split: expected validation or test, found 'training'" in failed.output


def test_batch_size_changes_nothing(
    classifier: TrainedClassifier, sweep: LTSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("camtools.scores.lt_sweep.PERCENTILES", (20,))  # one percentile stands for all
    single = sweep_lt(classifier, batch_size=1)
    for method, counts in sweep.untruncated.items():
        assert scores(single.untruncated[method]) == pytest.approx(scores(counts), abs=3e-3)
        truncated = sweep.truncated[method][PERCENTILES.index(20)]
        assert scores(single.truncated[method][0]) == pytest.approx(scores(truncated), abs=3e-3)
