"""Choices: what they may be, and the file that keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from camtools.data import DataError
from camtools.tuning import MaskChoice, read_choice, write_choice

CRF = MaskChoice("layercam", ("layer2", "layer3"), "geometric_mean", 0.35, "crf", parameters={"bilateral_sxy": 20})


@pytest.mark.parametrize(
    "choice",
    [
        CRF,
        MaskChoice("fullgrad", mirrored=True, scales=[1, 1.25]),  # type: ignore[arg-type]
        MaskChoice("ltgradcam", ("layer3",), threshold="midpoint", options={"percentile": 20}),
        MaskChoice("cfdcam", ("layer4",), threshold=0.5, options={"scales": (1.0, 2.0)}),
        MaskChoice("gradcam", ["layer4"], refinement="geodesic", parameters={"margin": 3}),  # type: ignore[arg-type]
    ],
)
def test_a_choice_comes_back_from_its_file(tmp_path: Path, choice: MaskChoice) -> None:
    write_choice(choice, tmp_path / "choice.json")
    for source in (tmp_path / "choice.json", str(tmp_path / "choice.json"), choice, choice.to_dict()):
        assert read_choice(source) == choice


def test_the_file_has_the_documented_format(tmp_path: Path) -> None:
    write_choice(CRF, tmp_path / "choice.json")
    assert json.loads((tmp_path / "choice.json").read_text()) == {
        "format": "camtools mask choice 1",
        "method": "layercam",
        "layers": ["layer2", "layer3"],
        "fusion": "geometric_mean",
        "threshold": 0.35,
        "mirrored": False,
        "scales": [1.0],
        "refinement": "crf",
        "options": {},
        "parameters": {"bilateral_sxy": 20},
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "magic"}, r"method: expected one of cam, gradcam, .*, found 'magic'"),
        ({"fusion": "vote"}, r"fusion: expected one of mean, geometric_mean, .*, found 'vote'"),
        ({"refinement": "snake"}, r"refinement: expected one of none, geodesic, crf, found 'snake'"),
        ({"threshold": 1.5}, r"expected rule 'otsu', 'midpoint' or a fraction of .* between 0 and 1, found 1.5"),
        ({"threshold": None}, r"expected rule 'otsu', .*, found None"),
        ({"mirrored": "yes"}, r"mirrored: expected true or false, found 'yes'"),
        ({"scales": []}, r"scales: expected one or more positive numbers, found \[\]"),
        ({"scales": [1.0, 0]}, r"scales: expected one or more positive numbers, found \[1.0, 0\]"),
        ({"scales": 1.25}, r"scales: expected one or more positive numbers, found 1.25"),
        ({"layers": []}, r"layers: expected one or more names of layers for layercam, found none"),
        ({"layers": "layer3"}, r"layers: expected a list of names, found 'layer3'"),
        ({"layers": [3]}, r"layers: expected names of layers, found \[3\]"),
        ({"parameters": {"margin": 3}}, r"parameters: expected some of gaussian_sxy, .* for the refinement crf, found"),
        ({"parameters": {"bilateral_sxy": 0}}, r"expected bilateral_sxy to be finite and > 0, found 0"),
        ({"parameters": 3}, r"parameters: expected names and values, found 3"),
        ({"options": [1]}, r"options: expected names and values, found \[1\]"),
        (
            {"format": "camtools mask choice 9"},
            r"format: expected 'camtools mask choice 1', found 'camtools mask choice",
        ),
        ({"treshold": 0.5}, r"expected the keys method, .*, found the unknown treshold"),
    ],
)
def test_what_is_no_choice_is_named_with_its_file(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    content = CRF.to_dict() | changed
    with pytest.raises(ValueError, match=message):
        read_choice(content)
    path = tmp_path / "choice.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"Expected a choice of camtools tune in {path}: .*{message}"):
        read_choice(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"method": "layerc', r"Expected a choice \(a JSON object\) in {path}, found another content \(Unterminated"),
        ("[1]", r"Expected a choice .* in {path}, found another content \(expected a JSON object, found a list\)"),
        ('{"layers": ["layer3"]}', "in {path}: expected the keys method, .*, found no method"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "choice.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message.format(path=path)):
        read_choice(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"Expected the choice of a tuning at {tmp_path}/none.json, found no"):
        read_choice(tmp_path / "none.json")


def test_what_the_refinement_does_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected some of none for the refinement none, found margin. Remove them"):
        MaskChoice("layercam", ("layer3",), parameters={"margin": 3})
