"""Labels of one case: values that are unknown or ignored, and images in other formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camtools.data import DataError
from camtools.data.importers.dataset import Case
from camtools.data.importers.labelled import Objects, write_labelled
from tests.data.importers import releases


@pytest.fixture
def case(tmp_path: Path) -> Case:
    image = releases.save(tmp_path / "in" / "a.nii", releases.picture(0))
    label = releases.save(tmp_path / "in" / "b.nii.gz", releases.labels())
    (tmp_path / "out").mkdir()
    return Case("p1", "p1", (image, label))


def test_item(case: Case, tmp_path: Path) -> None:
    item = write_labelled(case, tmp_path / "out", Objects("cyst", frozenset({3})))
    assert item == {"image": "p1_image.nii", "label": "p1_label.nii.gz", "slices": 4, "positive_slices": 1}


def test_values_that_no_class_has(case: Case, tmp_path: Path) -> None:
    known = frozenset({0, 1, 2})
    with pytest.raises(DataError, match=r"labels \[0, 1, 2\] of dataset.json, found \[0, 1, 2, 3\] in .*b.nii.gz"):
        write_labelled(case, tmp_path / "out", Objects("x", None, known))


def test_voxels_without_a_class(case: Case, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found voxels with the label 3, 'ignore', in .*b.nii.gz\. Give them a class"):
        write_labelled(case, tmp_path / "out", Objects("x", None, frozenset({0, 1, 2}), ignored=3))


def test_affines_that_differ(case: Case, tmp_path: Path) -> None:
    releases.save(case.files[1], releases.labels(), np.diag([1.0, 1, 1, 1]))
    with pytest.raises(DataError, match=r"and affines that differ by up to 2.* mm\. Resample the label onto its image"):
        write_labelled(case, tmp_path / "out", Objects("x"))
