"""The one place that loads trained weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from camtools.networks.weights import load_weights


@pytest.mark.parametrize("content", [b"", b"text"])
def test_damaged_weights_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "start.pt").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"test: expected trained weights .* in .*start\.pt, found a file that cannot be"
    ):
        load_weights("test", [(torch.nn.Conv2d(1, 2, 1), tmp_path / "start.pt")])
    torch.save([1], tmp_path / "start.pt")
    with pytest.raises(ValueError, match=r"in .*start\.pt, found a list\. Name another file"):
        load_weights("test", [(torch.nn.Conv2d(1, 2, 1), tmp_path / "start.pt")])
