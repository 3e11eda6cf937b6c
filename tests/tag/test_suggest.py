"""Suggestions of a trained classifier (camtools.tag.suggest, classifier)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from camtools.data.errors import DataError
from camtools.networks import VGG16CAM
from camtools.tag.classifier import suggestions_of
from camtools.tag.listing import read_folder
from camtools.tag.session import TagSession
from camtools.tag.suggest import Suggestions
from tests.browsers import wait_until
from tests.tag.helpers import Asker, rows_of, write_folder

BUNDLES = Path(__file__).parents[2] / "bundles"
SURE, UNSURE = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0], [0.0, 0.4, 0.9, 0.6, 0.5, 0.0]


def session(root: Path, called: list[Path], stamp: str = "weights") -> TagSession:
    def classify(path: Path) -> list[float]:
        called.append(path)
        if path.parent.name == "p1":
            raise RuntimeError("too difficult")
        return UNSURE if path.parent.name == "p2" else SURE

    found = TagSession(read_folder(root), suggestions=Suggestions(lambda: classify, stamp))
    found.start()
    return found


def test_suggestions_are_shown_and_never_results(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    called: list[Path] = []
    tagging = session(root, called)
    assert tagging.suggestions is not None
    wait_until(lambda: len(called) == 3)
    wait_until(lambda: (root / ".camtools_tag/suggestions.json").is_file())
    unsure = {one["case"]: one["unsure"] for one in tagging.overview()["volumes"]}
    assert unsure["p0/a"] == 0
    assert unsure["p1/a"] is None, "one that fails does not stop the others"
    assert unsure["p2/a"] == pytest.approx((0.8 + 0.2 + 0.8 + 1) / 6)
    key = next(volume.id for volume in tagging.folder.volumes.values() if volume.case == "p2/a")
    detail = tagging.detail(key)
    assert detail["suggestion"] == {"ranges": [[2, 3]], "probabilities": UNSURE}
    assert (detail["status"], detail["ranges"], detail["revision"]) == ("", [], 0)
    assert len(tagging.changes(0, 0)["volumes"]) == 2
    assert tagging.changes(0, 2)["volumes"] == []
    tagging.stop()
    assert not (root / "tags.csv").exists(), "nothing was confirmed"
    assert not (root / "dataset.json").exists()


def test_suggestions_are_kept_for_the_same_weights_and_files(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    called: list[Path] = []
    first = session(root, called)
    wait_until(lambda: (root / ".camtools_tag/suggestions.json").is_file())
    first.stop()
    called.clear()
    second = session(root, called)
    wait_until(lambda: len(called) == 1)
    second.stop()
    assert [path.parent.name for path in called] == ["p1"], "only the one that failed"
    called.clear()
    third = session(root, called, "other weights")
    wait_until(lambda: len(called) == 3)
    third.stop()


def test_only_confirmed_tags_train(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    asker = Asker(root)
    assert asker.act("p0/a", 0, ranges=[[2, 3]], status="done").status_code == 200
    asker.session.stop()
    tagging = session(root, called := [])
    wait_until(lambda: len(called) == 2)
    tagging.stop()
    assert [path.parent.name for path in called] == ["p1", "p2"], "confirmed volumes need no suggestion"
    assert list(rows_of(root / "tags.csv")) == ["p0/a.nii.gz"]


def write_run(run: Path, bundle: str, **knobs: object) -> Path:
    """What a training leaves that suggestions need."""
    config = yaml.safe_load((BUNDLES / bundle / "configs/train.yaml").read_text()) | knobs
    run.mkdir()
    (run / "manifest.json").write_text(json.dumps({"config": config, "stages": {}, "files": {}}))
    return run


def test_classifier_of_a_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "umcam", width=0.0625, pixel_size=2.0)
    with pytest.raises(DataError, match=r"Expected a trained classifier at .*model\.pt, found none"):
        suggestions_of(run, None)
    torch.manual_seed(0)
    network = VGG16CAM(in_channels=1, num_classes=2, width=0.0625, norm="batch")
    (run / "classifier").mkdir()
    torch.save(network.state_dict(), run / "classifier/model.pt")
    root = write_folder(tmp_path / "data", 2)
    found = suggestions_of(run, read_folder(root).slice_axis)
    tagging = TagSession(read_folder(root), suggestions=found)
    tagging.start()
    wait_until(lambda: len(found.finished) == 2 or found.problem)
    assert found.problem == ""
    probabilities = found.of(found.finished[0])
    assert probabilities is not None
    assert len(probabilities.probabilities) == 6
    assert all(0 < p < 1 for p in probabilities.probabilities)
    tagging.stop()


def test_run_without_a_classifier_of_slices(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "oeem")
    (run / "classifier").mkdir()
    torch.save({}, run / "classifier/model.pt")
    with pytest.raises(DataError, match="run to have trained a classifier of slices .*, found one of patches"):
        suggestions_of(run, None)
    (run / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="found no settings of a classifier in .*run. Give --suggest the --output-dir"):
        suggestions_of(run, None)


def test_why_no_volume_has_suggestions_is_told(tmp_path: Path) -> None:
    def classify(path: Path) -> list[float]:
        return [0.5]

    found = Suggestions(lambda: classify, "weights")
    tagging = TagSession(read_folder(write_folder(tmp_path)), suggestions=found)
    tagging.start()
    wait_until(lambda: found.problem)
    tagging.stop()
    assert re.match(r"No suggestions: Expected 6 slices in .*a\.nii\.gz, found 1\.", found.problem)
