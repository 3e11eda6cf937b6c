from __future__ import annotations

from pathlib import Path

import torch

from camtools.scores.spool import Spool


def test_entries_come_back_in_order_and_their_files_vanish() -> None:
    spool: Spool[dict[str, torch.Tensor]] = Spool()
    for number in range(3):
        spool.append({"maps": torch.full((2, 2), float(number))})
    for _ in range(2):
        assert [float(entry["maps"].sum()) for entry in spool] == [0.0, 4.0, 8.0]
    folder = Path(spool._folder.name)
    assert len(list(folder.iterdir())) == 3
    del spool
    assert not folder.exists()
