"""Settings in a file of weights, which stays a plain state dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.handlers import Checkpoint

from camtools.networks.weight_settings import read_settings, with_settings

SETTINGS = {"bundle": "B", "knobs": {"pixel_size": None, "features": [4, 4], "norm": "batch", "gate": True}}


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


@pytest.mark.parametrize("kind", [dict, lambda state: state], ids=["dictionary", "state dictionary"])
def test_every_reader_finds_a_plain_state_dictionary(kind: Any, tmp_path: Path) -> None:
    trained, path = network(), tmp_path / "model.pt"
    torch.save(with_settings(kind(trained.state_dict()), SETTINGS), path)
    assert read_settings(path) == SETTINGS
    read = torch.load(path, weights_only=True)
    assert list(read) == list(trained.state_dict())
    by_torch, by_monai = network(), network()
    by_torch.load_state_dict(read)
    Checkpoint.load_objects(to_load={"": by_monai}, checkpoint=str(path))  # as MONAI's ckpt_export does
    for key, value in trained.state_dict().items():
        assert torch.equal(by_torch.state_dict()[key], value)
        assert torch.equal(by_monai.state_dict()[key], value)


def test_settings_survive_a_copy_and_none_are_none(tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save(with_settings(state, SETTINGS), tmp_path / "first.pt")
    torch.save(torch.load(tmp_path / "first.pt", weights_only=True), tmp_path / "second.pt")
    assert read_settings(tmp_path / "second.pt") == SETTINGS
    assert with_settings(state, None) is state
    torch.save(state, tmp_path / "old.pt")
    assert read_settings(tmp_path / "old.pt") is None
    assert "camtools" not in state._metadata  # the given dictionary is not changed


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"settings: expected trained weights .* in .*model\.pt, found a file that"):
        read_settings(tmp_path / "model.pt")
