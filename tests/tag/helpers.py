"""Folders to tag, and somebody who asks the server."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from camtools.tag.listing import read_folder
from camtools.tag.server import tag_app
from camtools.tag.session import TagOptions, TagSession
from tests.conftest import blob_volume, write_volume

PORT = 4711
TOKEN = "secret"
OWN = f"http://127.0.0.1:{PORT}"
AXIAL = np.diag([-1.0, -1.0, 5.0, 1.0])  # the first axis runs to the left, the second to the back


def write_folder(root: Path, count: int = 3) -> Path:
    """Volumes ``p0/a.nii.gz``, ``p1/a.nii.gz``, ...: 32 x 36 pixels, 6 slices."""
    for seed in range(count):
        write_volume(root / f"p{seed}/a.nii.gz", blob_volume(seed)[0], AXIAL)
    return root


class Asker:
    """A session and its page's requests."""

    def __init__(self, root: Path, options: TagOptions | None = None, **listing: Any) -> None:
        self.session = TagSession(read_folder(root, **listing), options)
        self.session.start()
        self.client = TestClient(tag_app(self.session, PORT, TOKEN), base_url=OWN, follow_redirects=False)
        self.client.cookies.set(f"camtools_tag_{PORT}", TOKEN)

    def id_of(self, case: str) -> str:
        return next(volume.id for volume in self.session.folder.volumes.values() if volume.case == case)

    def act(self, case: str, revision: int, client: str = "one", **change: Any) -> Any:
        body = {"revision": revision, "change": change, "client": client}
        return self.client.post(f"/api/volumes/{self.id_of(case)}/act", json=body)

    def undo(self, case: str, revision: int) -> Any:
        return self.client.post(f"/api/volumes/{self.id_of(case)}/undo", json={"revision": revision})

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(path, **more)


def rows_of(path: Path) -> dict[str, list[int]]:
    """Tags by image."""
    found: dict[str, list[int]] = {}
    with path.open(newline="") as handle:
        for row in csv.DictReader(handle):
            assert int(row["slice"]) == len(found.setdefault(row["image"], []))
            found[row["image"]].append(int(row["label"]))
    return found
