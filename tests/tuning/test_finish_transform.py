from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from camtools.transforms import LargestLogitd
from camtools.tuning import ChosenFinishd, FinishChoice, write_finish
from tests.conftest import oblique_affine


def probabilities(*shares: float) -> MetaTensor:
    of_object = torch.tensor(shares).view(1, -1, 1, 1)
    return MetaTensor(torch.cat([1 - of_object, of_object]), affine=oblique_affine())


def finish(pred: MetaTensor, **settings: Any) -> Any:
    return ChosenFinishd("nowhere.json", **({"threshold": 0.5, "largest_component": False} | settings))({"pred": pred})[
        "pred"
    ]


def test_threshold_on_the_probability_of_the_object() -> None:
    pred = probabilities(0.1, 0.3, 0.31, 0.9)
    found = finish(pred, threshold=0.3)
    assert isinstance(found, MetaTensor)
    assert found.flatten().tolist() == [0, 0, 1, 1]
    assert torch.equal(found.affine, pred.affine)
    assert torch.equal(finish(pred).as_tensor(), LargestLogitd("pred")({"pred": pred})["pred"].as_tensor())


def test_largest_component_alone() -> None:
    pred = probabilities(0.9, 0.1, 0.6, 0.6)
    assert finish(pred).flatten().tolist() == [1, 0, 1, 1]
    assert finish(pred, largest_component=True).flatten().tolist() == [0, 0, 1, 1]


def test_the_file_is_read_with_the_first_volume(tmp_path: Path) -> None:
    path = tmp_path / "finish.json"
    transform = ChosenFinishd(path)
    with pytest.raises(FileNotFoundError, match=r"Expected the threshold of the training at .*finish\.json"):
        transform({"pred": probabilities(0.3)})
    write_finish(FinishChoice(0.2), path)
    assert transform({"pred": probabilities(0.3)})["pred"].item() == 1
    assert ChosenFinishd(path, threshold=0.4)({"pred": probabilities(0.3)})["pred"].item() == 0


def test_two_classes_are_needed() -> None:
    with pytest.raises(ValueError, match=r"Expected the probabilities of 2 classes, found 3\. Leave out the threshold"):
        finish(MetaTensor(torch.zeros(3, 2, 2, 2)))
