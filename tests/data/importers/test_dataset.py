"""What all imports share: splits by patient, folders written whole or not at all, repeated imports."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from camtools.cli.importing import import_app
from camtools.data import DataError
from camtools.data.importers.dataset import Case, Recipe, describe_mask, format_summary, write_dataset
from camtools.data.importers.patients import held_out_patients, split_by_patient, split_patients

EQUAL = (0.8, 0.1, 0.1)


@pytest.mark.parametrize(
    ("count", "split", "sizes"),
    [
        (110, (0.8, 0.1, 0.1), (88, 11, 11)),
        (10, (0.8, 0.1, 0.1), (8, 1, 1)),
        (3, (0.8, 0.1, 0.1), (1, 1, 1)),
        (4, (0.98, 0.01, 0.01), (2, 1, 1)),
        (5, (0.01, 0.01, 0.98), (1, 1, 3)),
        (10, (0.5, 0.2, 0.3), (5, 2, 3)),
    ],
)
def test_sizes_of_the_splits(count: int, split: tuple[float, float, float], sizes: tuple[int, ...]) -> None:
    found = Counter(split_patients([f"p{index:03d}" for index in range(count)], split, seed=1).values())
    assert (found["training"], found["validation"], found["test"]) == sizes


def test_the_split_depends_on_patients_and_seed_only() -> None:
    names = [f"p{index}" for index in range(20)]
    first = split_patients(names, EQUAL, seed=0)
    assert split_patients([*reversed(names), "p3"], EQUAL, seed=0) == first
    assert split_patients(names, EQUAL, seed=1) != first
    # Drawn at random, not cut from the sorted names.
    assert [first[name] for name in sorted(names)] != sorted(
        first.values(), key=["training", "validation", "test"].index
    )


def test_too_few_patients() -> None:
    with pytest.raises(DataError, match=r"Expected at least 3 patients, one for each split, found 2: a, b\. Give"):
        split_patients(["a", "b", "a"], EQUAL, seed=0)


@pytest.mark.parametrize(
    ("counts", "fraction", "held_out"),
    [
        ((12, 3, 5, 1, 4), 0.2, 5),  # 5 of 25 images: the third patient, or the last two
        ((10, 10, 10), 0.2, 10),  # 6 would be wanted; nobody at all is no choice
        ((2, 2), 0.99, 2),  # nor is everybody
        ((7, 1), 0.9, 7),
        ((5, 3, 3), 0.5, 5),  # 5 and 6 are as near to 5.5: the smaller
    ],
)
def test_held_out_patients_bring_the_fraction_of_cases(counts: tuple[int, ...], fraction: float, held_out: int) -> None:
    patients = [f"p{index}" for index, count in enumerate(counts) for _ in range(count)]
    for seed in range(5):
        chosen = held_out_patients(patients, fraction, seed)
        assert sum(patient in chosen for patient in patients) == held_out


def test_held_out_patients_depend_on_patients_and_seed_only() -> None:
    patients = [f"p{index % 12}" for index in range(48)]
    first = held_out_patients(patients, 0.25, seed=0)
    assert len(first) == 3
    assert held_out_patients(patients[::-1], 0.25, seed=0) == first
    assert len({frozenset(held_out_patients(patients, 0.25, seed)) for seed in range(6)}) > 3


@pytest.mark.parametrize("split", [(0.5, 0.5), (0.6, 0.4, 0.0), (0.6, 0.3, 0.3), (1.2, -0.1, -0.1)])
def test_wrong_split(split: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"with sum 1, found {split}. Correct them.")):
        split_patients(["a", "b", "c"], split, seed=0)


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_wrong_seed(seed: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"integer >= 0, found {seed}. Choose another seed.")):
        split_patients(["a", "b", "c"], EQUAL, seed)


def test_slices_are_counted_along_the_widest_spacing() -> None:
    mask = np.zeros((4, 3, 5), np.uint8)
    mask[1, 1, 1:4] = 1
    assert describe_mask(mask, np.eye(4)) == {"slices": 5, "positive_slices": 3}
    assert describe_mask(mask, np.diag([6.0, 1, 1, 1])) == {"slices": 4, "positive_slices": 1}


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    (tmp_path / "in").mkdir()
    found = []
    for name in "cab":
        path = tmp_path / "in" / f"{name}.txt"
        path.write_text(name)
        found.append(Case(name, name, (path,)))
    return found


def copy(case: Case, folder: Path) -> dict[str, Any]:
    (folder / f"{case.name}.txt").write_text(case.files[0].read_text())
    return {"image": f"{case.name}.txt", "label": f"{case.name}.txt", "slices": 5, "positive_slices": 2}


def write(cases: list[Case], out: Path, seed: int = 0, write_case: Any = copy, modality: str = "flair") -> Path:
    recipe = Recipe("toy", "Toy release.", "gland", modality, write_case)
    split = split_by_patient({case.name: case.patient for case in cases}, EQUAL, seed)
    return write_dataset(cases, cases[0].files[0].parent, out, recipe, split, skipped=["x"])


def test_accepts_an_empty_folder_and_absent_parents(cases: list[Case], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert write(cases, tmp_path / "empty") == tmp_path / "empty" / "dataset.json"
    path = write(cases, tmp_path / "a" / "b")
    assert sorted(item.name for item in path.parent.iterdir()) == ["a.txt", "b.txt", "c.txt", "dataset.json"]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a", "empty", "in"]


def test_refuses_a_folder_with_content(cases: list[Case], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name, text in (("notes.txt", "mine"), ("dataset.json", '{"training": []}')):
        (tmp_path / "mine" / name).write_text(text)
        with pytest.raises(FileExistsError, match=r"new or empty folder, found . entries, the first '.*'\. Choose"):
            write(cases, tmp_path / "mine")
    with pytest.raises(FileExistsError, match=r"new or empty folder, found a file\. Choose another folder"):
        write(cases, tmp_path / "mine" / "notes.txt")
    assert (tmp_path / "mine" / "dataset.json").read_text() == '{"training": []}'


def test_a_finished_import_is_kept(cases: list[Case], tmp_path: Path) -> None:
    def fail(case: Case, folder: Path) -> dict[str, Any]:
        raise AssertionError("written again")

    path = write(cases, tmp_path / "out")
    before = path.read_bytes()
    assert write(cases, tmp_path / "out", write_case=fail) == path
    assert path.read_bytes() == before


def test_another_import_is_not_overwritten(cases: list[Case], tmp_path: Path) -> None:
    path = write(cases, tmp_path / "out")
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"an earlier import that differs in seed\. Choose another folder"):
        write(cases, tmp_path / "out", seed=1)
    with pytest.raises(FileExistsError, match=r"an earlier import that differs in modality, seed\. Choose"):
        write(cases, tmp_path / "out", seed=1, modality="t2")
    cases[0].files[0].write_text("changed")
    with pytest.raises(FileExistsError, match=r"an earlier import that differs in inputs\. Choose another folder"):
        write(cases, tmp_path / "out")
    assert path.read_bytes() == before


def test_a_failure_leaves_nothing(cases: list[Case], tmp_path: Path) -> None:
    def fail(case: Case, folder: Path) -> dict[str, Any]:
        copy(case, folder)
        raise KeyboardInterrupt("stopped")

    with pytest.raises(KeyboardInterrupt, match="stopped"):
        write(cases, tmp_path / "out", write_case=fail)
    assert [item.name for item in tmp_path.iterdir()] == ["in"]


def test_summary(cases: list[Case], tmp_path: Path) -> None:
    path = write(cases, tmp_path / "out")
    assert json.loads(path.read_text())["labels"] == {"0": "background", "1": "gland"}
    lines = format_summary(path).splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["split", "patients", "cases", "slices", "positive"],
        *[[split, "1", "1", "5", "2"] for split in ("training", "validation", "test")],
    ]
    assert lines[4:] == ["Skipped 1 cases without a segmentation: x"]


def test_commands_are_listed_without_arguments() -> None:
    output = CliRunner().invoke(import_app, []).output
    for command in ("brats", "glas", "lgg"):
        assert re.search(rf"\b{command}\b", output)


def test_a_refused_folder_ends_the_command_with_one_message(tmp_path: Path) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    result = CliRunner().invoke(import_app, ["lgg", str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert result.output.startswith("Error: Expected files of the LGG dataset such as")
    assert "Traceback" not in result.output
