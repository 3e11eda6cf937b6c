from __future__ import annotations

import functools
import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, Flipd, Lambdad, NormalizeIntensityd, RandFlipd

from camtools.data import settings
from camtools.data.settings import settings_digest
from camtools.transforms import PrepareVolumed, ScaleSlicesd


def prepare(**changed: Any) -> PrepareVolumed:
    given: dict[str, Any] = {"pixel_size": 1.0, "slice_axis": 2, "channels": 1, "intensity": ScaleSlicesd("image")}
    return PrepareVolumed(**given | changed)


def test_equal_settings_have_one_digest() -> None:
    assert settings_digest(prepare()) == settings_digest(prepare())
    reseeded = prepare()
    reseeded.set_random_state(seed=5)
    assert settings_digest(prepare()) == settings_digest(reseeded)


@pytest.mark.parametrize(
    "changed",
    [
        {"pixel_size": 1.5},
        {"pixel_size": None},
        {"slice_axis": 1},
        {"slice_axis": "axial"},
        {"channels": 3},
        {"intensity": ()},
        {"intensity": [ScaleSlicesd("image"), NormalizeIntensityd("image", subtrahend=0.5)]},
        {"keys": ["image"]},
    ],
)
def test_every_setting_counts(changed: dict[str, Any]) -> None:
    assert settings_digest(prepare()) != settings_digest(prepare(**changed))


def scaled(factor: float) -> Any:
    return lambda image: image * factor


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda image: image + 1, lambda image: image + 2),
        (lambda image: image.sin(), lambda image: image.cos()),
        (scaled(2.0), scaled(3.0)),
        (functools.partial(torch.add, other=1), functools.partial(torch.add, other=2)),
        (operator.itemgetter(0), operator.itemgetter(1)),
        (np.array([1.0, 2.0]).__add__, np.array([1.0, 3.0]).__add__),
    ],
)
def test_functions_count_with_their_code_and_values(first: Any, second: Any) -> None:
    assert settings_digest(Lambdad("image", first)) == settings_digest(Lambdad("image", first))
    assert settings_digest(Lambdad("image", first)) != settings_digest(Lambdad("image", second))


def test_order_of_transforms_counts() -> None:
    steps = [Flipd("image", 0), NormalizeIntensityd("image", subtrahend=np.array([0.5]))]
    assert settings_digest(Compose(steps)) != settings_digest(Compose(steps[::-1]))
    other = [steps[0], NormalizeIntensityd("image", subtrahend=np.array([0.25]))]
    assert settings_digest(Compose(steps)) != settings_digest(Compose(other))
    assert settings_digest(RandFlipd("image", 0.5)) != settings_digest(RandFlipd("image", 0.25))


def test_code_and_versions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings_digest(prepare())
    monkeypatch.setattr(settings, "version", lambda name: "0")
    assert settings_digest(prepare()) != before
    monkeypatch.undo()
    monkeypatch.setattr(settings, "_own_code", lambda: "other code")
    assert settings_digest(prepare()) != before


def test_settings_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w") as handle:
        transform = Lambdad("image", lambda image: handle and image)
        with pytest.raises(TypeError, match=r"Expected a transform .* found TextIOWrapper .* give --cache_dir null"):
            settings_digest(transform)
