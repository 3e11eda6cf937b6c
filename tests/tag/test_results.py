"""The files that tagging ends with (camtools.tag.writer, results, splits, imports)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from camtools.data import SliceDataset, load_datalist
from camtools.data.errors import DataError
from camtools.data.tags import slice_tags
from camtools.networks import VGG16CAM
from camtools.tag.listing import read_folder
from camtools.tag.ranges import ranges_of
from camtools.tag.splits import SplitSettings, default_pattern, draw
from camtools.transforms import PrepareVolumed, ScaleSlicesd
from tests.conftest import write_dataset
from tests.tag.helpers import Asker, rows_of, write_folder

SPLITS = ("training", "validation", "test")


def confirm(asker: Asker, case: str, *ranges: list[int]) -> None:
    revision = asker.session.store.record(case).revision
    assert asker.act(case, revision, ranges=list(ranges), status="done").status_code == 200


def test_bundles_read_what_is_written(tmp_path: Path) -> None:
    root = write_folder(tmp_path, 10)
    asker = Asker(root)
    for number in range(8):
        confirm(asker, f"p{number}/a", [number % 4, 4])
    asker.session.stop()
    items = {split: load_datalist(root, split) for split in SPLITS}
    assert {split: len(listed) for split, listed in items.items()} == {"training": 6, "validation": 2, "test": 0}
    found = {item["case"]: item["slice_labels"] for listed in items.values() for item in listed}
    assert found["p3/a"] == [0, 0, 0, 1, 1, 0]
    content = json.loads((root / "dataset.json").read_text())
    assert content["labels"] == {"0": "background", "1": "object"}
    assert content["training"][0]["slice_labels"] == "tags.csv"


def test_volume_that_is_no_longer_confirmed_leaves_the_results(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    asker = Asker(root)
    confirm(asker, "p0/a", [1, 2])
    confirm(asker, "p1/a", [1, 2])
    asker.undo("p0/a", 1)
    asker.session.stop()
    assert list(rows_of(root / "tags.csv")) == ["p1/a.nii.gz"]


def test_splits_of_patients(tmp_path: Path) -> None:
    root = write_folder(tmp_path, 5)
    asker = Asker(root)
    confirm(asker, "p0/a", [1, 2])
    preview = asker.client.post("/api/preview", json={}).json()
    assert preview["settings"] == {"patient": "^[^/]+", "validation": 0.2, "test": 0.0, "seed": 0}
    rows = {row["patient"]: (row["volumes"], row["tagged"]) for row in preview["patients"]}
    assert rows == {"p0": (1, 1), "p1": (1, 0), "p2": (1, 0), "p3": (1, 0), "p4": (1, 0)}
    chosen = {"patient": "([0-2])", "validation": 0.4, "test": 0.0, "seed": 3}
    answer = asker.client.post("/api/preview", json=chosen)
    assert answer.status_code == 422
    expected = "Expected a patient in every name by the pattern '([0-2])', found none in 2 of 5: p3/a, p4/a. Correct"
    assert expected in answer.json()["detail"]
    for wrong in ({"patient": "("}, {"patient": "a", "validation": 1}, {"patient": "a", "seed": -1}, {"a": 1}):
        assert asker.client.post("/api/preview", json=wrong).status_code == 400
    chosen["patient"] = r"p(\d)"
    assert asker.client.post("/api/splits", json=chosen).status_code == 200
    saved = json.loads((root / "dataset.json").read_text())
    assert saved["camtools_tag"] == chosen
    asker.session.stop()
    again = Asker(root)
    assert again.client.post("/api/preview", json={}).json()["settings"] == chosen
    again.session.stop()


def test_patients_keep_their_split_when_volumes_are_added(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(20)]
    settings = SplitSettings("", validation=0.2, test=0.1, seed=1)
    first = draw(names[:10], settings)
    assert sorted(first.values()).count("validation") == 2
    assert draw(names[:10], settings) == first
    assert draw(names[:10], SplitSettings("", 0.2, 0.1, seed=2)) != first
    both = draw(names, SplitSettings("", 0.2, 0.1, 1, drawn=first))
    assert {name: both[name] for name in first} == first
    assert sorted(both.values()) == ["test"] * 2 + ["training"] * 14 + ["validation"] * 4


def test_patterns() -> None:
    assert default_pattern(["a", "b"]) == "^[^/]+"
    assert default_pattern(["images/a", "images/b"]) == "[^/]+$"
    assert draw(["one"], SplitSettings("")) == {"one": "training"}


def test_table_of_a_spreadsheet_is_taken_in(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    asker = Asker(root)
    confirm(asker, "p0/a", [1, 2])
    asker.session.stop()
    rows = "".join(f"p1/a.nii.gz;{index};{int(index > 3)}\n" for index in range(6))
    rows += "".join(f"p0/a.nii.gz;{index};{int(index == 0)}\n" for index in range(6))
    (root / "tags.csv").write_text("image;slice;label\n" + rows)
    again = Asker(root)
    again.session.stop()
    assert rows_of(root / "tags.csv") == {"p0/a.nii.gz": [1, 0, 0, 0, 0, 0], "p1/a.nii.gz": [0, 0, 0, 0, 1, 1]}
    assert again.session.store.record("p1/a").by == "tags.csv"
    assert again.undo("p0/a", again.session.store.record("p0/a").revision).json()["ranges"] == [[1, 2]]


@pytest.mark.parametrize("text", ["image,label\n", "image,slice,label\np0/a.nii.gz,0,1\n"])
def test_unusable_table_is_never_overwritten(tmp_path: Path, text: str) -> None:
    root = write_folder(tmp_path)
    (root / "tags.csv").write_text(text)
    asker = Asker(root)
    confirm(asker, "p0/a", [1, 2])
    asker.session.stop()
    assert (root / "tags.csv").read_text() == text
    problem = asker.get("/api/changes?since=0").json()["problem"]
    assert str(root / "tags.csv") in problem
    assert "Tags are safe in .camtools_tag meanwhile." in problem


def test_own_dataset_keeps_splits_masks_and_other_keys(tmp_path: Path) -> None:
    root = write_dataset(tmp_path, {"training": 2, "validation": 1, "test": 1})
    content = json.loads((root / "dataset.json").read_text())
    content["training"][0]["slice_labels"] = [0, 0, 1, 1, 0, 0]
    content["licence"] = "CC0"
    (root / "dataset.json").write_text(json.dumps(content))
    asker = Asker(root)
    overview = asker.get("/api/overview").json()
    assert [volume["case"] for volume in overview["volumes"]] == [f"images/case_{number}" for number in range(4)]
    assert [volume["status"] for volume in overview["volumes"]] == ["done", "", "", ""]
    confirm(asker, "images/case_2", [0, 1])
    assert asker.client.post("/api/splits", json={"patient": "."}).status_code == 400
    asker.session.stop()
    after = json.loads((root / "dataset.json").read_text())
    assert after["licence"] == "CC0"
    assert after["validation"] == [content["validation"][0] | {"slice_labels": "tags.csv"}]
    assert after["training"][1] == content["training"][1]
    assert load_datalist(root, "training")[0]["slice_labels"] == [0, 0, 1, 1, 0, 0]
    original = json.loads((root / ".camtools_tag/dataset.json.original").read_text())
    assert original == content


def test_masks_that_were_added_by_hand_stay(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    asker = Asker(root)
    confirm(asker, "p0/a", [1, 2])
    asker.session.stop()
    content = json.loads((root / "dataset.json").read_text())
    content["training"][0]["label"] = "p1/a.nii.gz"
    (root / "dataset.json").write_text(json.dumps(content))
    again = Asker(root)
    confirm(again, "p2/a", [1, 1])
    again.session.stop()
    items = [item for split in SPLITS for item in json.loads((root / "dataset.json").read_text())[split]]
    assert {item["image"]: item.get("label") for item in items} == {"p0/a.nii.gz": "p1/a.nii.gz", "p2/a.nii.gz": None}


def trained(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Weights of a small classifier after two epochs on slices and their tags."""
    torch.manual_seed(0)
    network = VGG16CAM(in_channels=1, num_classes=2, width=0.0625, norm="batch")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    samples = SliceDataset(items, PrepareVolumed(intensity=ScaleSlicesd("image")))
    for epoch in range(2):
        samples.set_epoch(epoch)
        for index in torch.randperm(len(samples)).split(12):
            batch = [samples[int(number)] for number in index]
            logits = network(torch.stack([torch.as_tensor(sample["image"]) for sample in batch]))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, torch.stack([sample["label"] for sample in batch])).backward()
            optimizer.step()
    return network.state_dict()


def test_training_ends_with_the_weights_of_the_true_tags(tmp_path: Path) -> None:
    truth = write_dataset(tmp_path / "truth", {"training": 4})
    items = load_datalist(truth, "training")
    root = Path(shutil.copytree(truth / "images", tmp_path / "images"))
    asker = Asker(root)
    asker.client.post("/api/splits", json={"patient": ".*", "validation": 0, "test": 0, "seed": 0})
    for item in items:
        ranges = ranges_of(slice_tags(item))
        confirm(asker, Path(item["case"]).name, *[list(pair) for pair in ranges])
    asker.session.stop()
    tagged = load_datalist(root, "training")
    assert [item["slice_labels"] for item in tagged] == [slice_tags(item) for item in items]
    expected, found = trained(items), trained(tagged)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_pattern_of_images(tmp_path: Path) -> None:
    root = write_dataset(tmp_path, {"training": 2})
    (root / "dataset.json").unlink()
    assert len(read_folder(root).volumes) == 4
    assert [volume.case for volume in read_folder(root, "images/*").volumes.values()] == [
        "images/case_0",
        "images/case_1",
    ]
    with pytest.raises(DataError, match="matches --images 'x', found 4 others"):
        read_folder(root, "x")
    (root / ".camtools_tag").symlink_to(tmp_path)
    with pytest.raises(DataError, match="to be a folder of camtools tag, found a link"):
        read_folder(root)
