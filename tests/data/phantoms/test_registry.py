"""Kinds of phantoms by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

from camtools.cli import main
from camtools.data.phantoms import KINDS, make_phantom, write_phantoms


def test_same_seed_same_phantom() -> None:
    first, second, other = (
        make_phantom("fetal_brain", 5),
        make_phantom("fetal_brain", 5),
        make_phantom("fetal_brain", 6),
    )
    for name in ("image", "mask", "affine"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    assert first.image.tobytes() != other.image.tobytes()
    assert not np.array_equal(first.affine, other.affine)


def test_unknown_kind_lists_the_kinds(tmp_path: Path) -> None:
    message = re.escape(f"Expected a kind of phantom ({', '.join(sorted(KINDS))}), found 'heart'.")
    with pytest.raises(ValueError, match=message):
        make_phantom("heart", seed=0)
    with pytest.raises(ValueError, match=message):
        write_phantoms("heart", tmp_path / "out", n=3)


def test_the_command_names_every_kind() -> None:
    option = get_type_hints(main.phantom, include_extras=True)["kind"].__metadata__[0]
    assert [kind for kind in KINDS if kind not in option.help] == []


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_wrong_seed(seed: Any, tmp_path: Path) -> None:
    message = re.escape(f"Expected a seed that is an integer >= 0, found {seed}. Choose another seed.")
    with pytest.raises(ValueError, match=message):
        make_phantom("fetal_brain", seed)
    with pytest.raises(ValueError, match=message):
        write_phantoms("fetal_brain", tmp_path / "out", n=3, seed=seed)
