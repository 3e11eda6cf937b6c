"""The overlays of the page how_to_train_faster.md, run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from camtools.engine import NetworkTrainer
from camtools.networks import EfficientNetLite0CAM
from tests.bundles.conftest import BUNDLES, OEEM, REPOSITORY, UMCAM, Bundle, infer, train

PAGE = REPOSITORY / "docs/how_to_train_faster.md"
BY_NAME = {bundle.name: bundle for bundle in BUNDLES}
FAST = {"architecture": "efficientnet_lite0", "width": 1.0, "classifier_epochs": 1, "segmenter_epochs": 1}
SCRATCH = {"pretrained": False, "norm": "frozen", "unit_images": True}  # as with the weights, which take a package
STRIDES = {"umcam": (16, 8), "ltgradcam": (16, 8), "cfdcam": (32, 16), "oeem": (32, 8)}  # of training, of maps


def overlay(folder: Path, name: str, bundle: str) -> str:
    """File with a block of the page."""
    blocks = re.findall(r"^```yaml\n(# .*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (text,) = [block for block in blocks if re.match(rf"# {name} for {bundle}\b", block)]
    (folder / name).write_text(text)
    return str(folder / name)


def trainer_of(bundle: Bundle, trainer: str, dataset: Path, output: Path, *files: str, **knobs: Any) -> NetworkTrainer:
    """Trainer of a stage, as the bundle builds it."""
    parser = ConfigParser()
    parser.read_config(bundle.files("train.yaml") + list(files))
    places = {"dataset_dir": str(dataset), "output_dir": str(output), "export_dir": str(output / "models")}
    parser.update({"bundle_root": str(output)} | bundle.tiny | places | knobs)
    set_determinism(0)
    built: NetworkTrainer = parser.get_parsed_content(trainer)
    return built


def maps_of(run: Path) -> list[np.ndarray]:
    return [nib.load(path).get_fdata() for path in sorted((run / "pseudo_labels").rglob("*_cam.nii.gz"))]


@pytest.mark.parametrize("name", STRIDES)
def test_maps_at_another_stride_than_the_training(name: str, dataset: Path, tmp_path: Path) -> None:
    bundle, (coarse, fine) = BY_NAME[name], STRIDES[name]
    strides = {"training_stride": coarse, "output_stride": fine}
    knobs = bundle.short | ({"image_size": [64, 64]} if "image_size" in bundle.tiny else {})
    run = train(bundle, dataset, tmp_path, **knobs | strides)
    assert (run / "report.html").is_file()
    parser = ConfigParser()
    parser.read_config(bundle.files("train.yaml"))
    parser.update(bundle.tiny | strides)
    trained = parser.get_parsed_content("classifier#trained_network")
    read = parser.get_parsed_content("classifier#network")
    assert (trained.smallest, read.smallest) == (coarse, fine)
    state = torch.load(run / "classifier/model.pt", weights_only=True)
    read.load_state_dict(state)
    trained.load_state_dict(state)
    before, checkpoint = maps_of(run), (run / "classifier/checkpoint.pt").stat().st_mtime_ns
    knobs |= {"run": ["@check", *(["@pretrain"] if name == "cfdcam" else []), "@classify", "@pseudo_label"]}
    train(bundle, dataset, tmp_path, **knobs, training_stride=coarse, output_stride=coarse)
    after = maps_of(run)
    assert (run / "classifier/checkpoint.pt").stat().st_mtime_ns == checkpoint
    assert len(before) == len(after) > 0
    assert not all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


def test_fast_classifier(dataset: Path, tmp_path: Path) -> None:
    file = overlay(tmp_path, "fast_classifier.yaml", "umcam")
    run = train(UMCAM, dataset, tmp_path, file, **FAST | SCRATCH)
    network = EfficientNetLite0CAM(in_channels=1, norm="frozen", unit_images=True)
    network.load_state_dict(torch.load(tmp_path / "models/classifier.pt", weights_only=True))
    assert (run / "report.html").is_file()
    knobs = {"architecture": "efficientnet_lite0", "width": 1.0, "pretrained": True, "gate": True}
    gated = infer(UMCAM, dataset, tmp_path / "out", tmp_path / "models", **knobs)
    assert len(list(gated.rglob("*.nii.gz"))) == 2


def test_the_benchmark_runs_the_overlay_of_the_page(tmp_path: Path) -> None:
    shown = yaml.safe_load(Path(overlay(tmp_path, "fast_classifier.yaml", "umcam")).read_text())
    assert shown == yaml.safe_load((REPOSITORY / "benchmarks/fast_classifier.yaml").read_text())


def test_network_of_the_fast_overlay_trains_at_stride_32(dataset: Path, tmp_path: Path) -> None:
    file = overlay(tmp_path, "fast_classifier.yaml", "umcam")
    run = trainer_of(UMCAM, "classifier#trainer", dataset, tmp_path / "run", file, **FAST | SCRATCH)
    assert run.bare_network.smallest == 32
    assert run.evaluator is not None
    assert run.evaluator.network is run.network
    assert isinstance(run.optimizer, torch.optim.AdamW)


def one_cycle(step: int, steps: int) -> float:
    """Rate of OneCycleLR relative to its maximum: from 1/25 up within 0.3 of the steps, down to 1/250,000."""
    peak = 0.3 * steps - 1
    start, low, high, end = (0.0, 1 / 25, 1.0, peak) if step <= peak else (peak, 1.0, 1 / 250_000, steps - 1)
    share = (step - start) / (end - start)
    return high + (low - high) / 2 * (1 + np.cos(np.pi * share))


def warmup_cosine(step: int, steps: int) -> float:
    warm = steps // 10
    if step < warm:
        return step / warm
    return 0.5 * (1 + np.cos(np.pi * (step - warm) / (steps - warm)))


def warmup_polynomial(step: int, steps: int) -> float:
    warm = steps // 10
    if step < warm:
        return 0.1 + 0.9 * step / warm
    return (1 - (step - warm) / (steps - warm)) ** 0.9


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize(
    ("name", "bundle", "trainer", "largest", "rule"),
    [
        ("one_cycle.yaml", UMCAM, "classifier#trainer", 0.05, one_cycle),
        ("warmup_cosine.yaml", UMCAM, "classifier#trainer", 0.05, warmup_cosine),
        ("warmup_polynomial.yaml", OEEM, "classifier#trainer", 0.01, warmup_polynomial),
    ],
)
def test_rates_of_schedules_also_after_a_kill(
    dataset: Path, tmp_path: Path, name: str, bundle: Bundle, trainer: str, largest: float, rule: Callable[..., float]
) -> None:
    file = overlay(tmp_path, name, bundle.name)
    rates: dict[str, list[float]] = {"whole": [], "parts": []}

    def start(folder: str, killed_in: int | None = None) -> None:
        batch = "classifier_batch_size" if bundle is OEEM else "classifier#trainer#train_data_loader#batch_size"
        knobs = {"classifier_epochs": 4, "classifier_dir": str(tmp_path / folder), batch: 3}
        run = trainer_of(bundle, trainer, dataset, tmp_path / "run", file, **knobs)

        def note(engine: Any) -> None:
            if engine.state.epoch == killed_in:
                raise Killed
            rates[folder].append(run.optimizer.param_groups[0]["lr"])

        run.add_event_handler(Events.ITERATION_STARTED, note)
        run.run()

    start("whole")
    with pytest.raises(Killed):
        start("parts", killed_in=3)
    start("parts")
    steps = len(rates["whole"])
    assert steps >= 20
    expected = [largest * rule(step, steps) for step in range(steps)]
    np.testing.assert_allclose(rates["whole"], expected, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(rates["parts"], rates["whole"])
    states = [torch.load(tmp_path / folder / "checkpoint.pt", weights_only=True)["network"] for folder in rates]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_patience_of_a_bundle(dataset: Path, tmp_path: Path) -> None:
    file = overlay(tmp_path, "patience.yaml", "umcam")
    for name in ("classifier#trainer", "train#trainer"):
        assert trainer_of(UMCAM, name, dataset, tmp_path / "run", file).patience == 3
    run = trainer_of(UMCAM, "classifier#trainer", dataset, tmp_path / "run", file, classifier_epochs=30)
    for group in run.optimizer.param_groups:
        group["lr"] = 0.0  # nothing is learned, so no validation is better than the first
    run.lr_scheduler = None
    run.run()
    history = json.loads((tmp_path / "run/classifier/history.json").read_text())
    accuracies = [row["accuracy"] for row in history]
    best = accuracies.index(max(accuracies))
    assert len(history) == best + 1 + 3 < 30


def test_images_grow_in_training_alone(dataset: Path, tmp_path: Path) -> None:
    file = overlay(tmp_path, "growing.yaml", "umcam")
    run = trainer_of(UMCAM, "classifier#trainer", dataset, tmp_path / "run", file, classifier_epochs=4)
    sides: dict[bool, list[int]] = {True: [], False: []}
    run.bare_network.register_forward_pre_hook(lambda model, images: sides[model.training].append(images[0].shape[-1]))
    run.run()
    steps = len(sides[True]) // 4
    assert sides[True] == [16] * steps * 2 + [32] * steps * 2
    assert set(sides[False]) == {32}
