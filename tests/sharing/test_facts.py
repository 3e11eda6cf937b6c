"""Facts for a model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from camtools.sharing.facts import SplitFacts, read_facts

ROW = {"case": "a", "shape": [8, 8, 3], "spacing": [0.5, 0.6, 4.0], "slice_axis": 2}
TRAINING = [
    {"image": "a.nii.gz", "slice_labels": [0, 1, 0]},
    {"image": "b.nii.gz", "label": "m.nii.gz"},
    {"image": "c.nii.gz", "label": "n.nii.gz"},
]


def facts(folder: Path, rows: list[dict[str, Any]], labels: object = None, **more: object) -> Any:
    (folder / "dataset_check.json").write_text(json.dumps(rows))
    (folder / "dataset.json").write_text(json.dumps({"labels": labels} | more))
    splits = {"_target_": "camtools.data.Splits", "training": TRAINING, "test": [{"image": "d.nii.gz"}]}
    config = {"splits": splits, "method": "m", "dataset_dir": str(folder), "in_channels": "$1 + 1"}
    return read_facts(ConfigParser(config), folder)


def test_volumes_slices_spacings_and_tags(tmp_path: Path) -> None:
    rows = [ROW | {"split": "training", "slices": 3, "positive_slices": 1}] * 3
    rows += [ROW | {"split": "test", "spacing": [6.0, 1.0, 1.0], "slice_axis": 0}]
    found = facts(tmp_path, rows)
    assert found.splits == [SplitFacts("training", 3, 9, 3), SplitFacts("test", 1, 0, 0)]
    assert (found.in_plane, found.between) == ((0.5, 1.0), (4.0, 6.0))
    assert found.unit == "slices"
    assert found.tags == "given for 1 of 3 training volumes and derived from masks for 2 of 3 training volumes"
    assert (found.channels, found.scores, found.pooled) == (2, [], [])
    assert found.versions["camtools"]


def test_phantoms_are_not_made_to_read_their_name(tmp_path: Path) -> None:
    (tmp_path / "dataset_check.json").write_text("[]")
    splits = {"_target_": "camtools.data.Splits"}
    config = {"splits": splits, "method": "m", "dataset_dir": "$1 / 0", "in_channels": 1}
    assert read_facts(ConfigParser(config), tmp_path).target is None


def test_patches_of_flat_images(tmp_path: Path) -> None:
    row = {"split": "training", "case": "a", "shape": [8, 8, 1], "spacing": [1.0, 1.0, 1.0]}
    found = facts(tmp_path, [row | {"slices": 1, "positive_slices": 1, "patches": 9, "positive_patches": 4}])
    assert found.splits == [SplitFacts("training", 1, 9, 4)]
    assert (found.unit, found.in_plane, found.between) == ("patches", None, None)


@pytest.mark.parametrize(
    ("labels", "target"),
    [
        ({"0": "background", "1": "lesion"}, "lesion"),
        ({"lesion": 1}, None),
        (["lesion"], None),
        ({"1": "a" * 50}, None),
    ],
)
def test_name_of_the_object(labels: object, target: str | None, tmp_path: Path) -> None:
    assert facts(tmp_path, [ROW | {"split": "training"}], labels).target == target


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"channel_names": {"1": "T2", "0": "T1"}}, ["T1", "T2"]),
        ({"modality": {"0": "T1", "1": "T2"}}, ["T1", "T2"]),
        ({"modality": {"0": "T1"}}, []),
        ({"channel_names": {"0": "T1", "1": 2}}, []),
        ({"channel_names": ["T1", "T2"]}, []),
        ({}, []),
    ],
)
def test_names_of_the_channels(content: dict[str, object], names: list[str], tmp_path: Path) -> None:
    assert facts(tmp_path, [ROW | {"split": "training"}], **content).channel_names == names
