"""What the server of camtools tag answers, and whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import blob_volume, write_volume
from tests.tag.helpers import AXIAL, OWN, PORT, TOKEN, Asker, rows_of, write_folder

pytest.importorskip("uvicorn", reason="needs the extra 'tag'")


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    asker = Asker(write_folder(tmp_path / "data"))
    yield asker
    asker.session.stop()


def test_overview_and_tags_on_disk(asker: Asker) -> None:
    overview = asker.get("/api/overview").json()
    assert [volume["case"] for volume in overview["volumes"]] == ["p0/a", "p1/a", "p2/a"]
    assert {volume["slices"] for volume in overview["volumes"]} == {6}
    answer = asker.act("p0/a", 0, ranges=[[2, 3]], status="open")
    assert (answer.status_code, answer.json()["revision"]) == (200, 1)
    assert asker.act("p0/a", 1, status="done").json()["status"] == "done"
    assert asker.act("p1/a", 0, ranges=[], status="done").status_code == 200
    assert asker.act("p2/a", 0, ranges=[[0, 1]], status="unsure").status_code == 200
    asker.session.stop()
    root = asker.session.folder.root
    assert rows_of(root / "tags.csv") == {"p0/a.nii.gz": [0, 0, 1, 1, 0, 0], "p1/a.nii.gz": [0] * 6}
    content = json.loads((root / "dataset.json").read_text())
    listed = {item["image"] for split in ("training", "validation", "test") for item in content[split]}
    assert listed == {"p0/a.nii.gz", "p1/a.nii.gz"}, "unconfirmed and unsure volumes train nothing"


def test_second_tab_is_refused_and_told(asker: Asker) -> None:
    asker.act("p0/a", 0, client="one", ranges=[[2, 3]])
    answer = asker.act("p0/a", 0, client="two", ranges=[[4, 5]])
    assert answer.status_code == 409
    assert "Expected revision 0 of 'p0/a', found 1" in answer.json()["detail"]
    news = asker.get("/api/changes?since=0").json()
    assert [(volume["case"], volume["ranges"], volume["client"]) for volume in news["volumes"]] == [
        ("p0/a", [[2, 3]], "one")
    ]
    assert asker.get(f"/api/changes?since={news['revision']}").json()["volumes"] == []
    assert asker.undo("p0/a", 1).json()["ranges"] == []


def test_pixels_are_those_of_the_file(asker: Asker) -> None:
    key = asker.id_of("p0/a")
    detail = asker.get(f"/api/volumes/{key}").json()
    plane = detail["planes"][0]
    assert (plane["name"], plane["size"], plane["letters"]) == ("axial", [36, 32], ["A", "L", "P", "R"])
    raw = np.frombuffer(asker.get(f"/api/volumes/{key}/planes/0/2").content, "<u2").reshape(36, 32)
    values = raw * detail["slope"] + detail["offset"]
    image = blob_volume(0)[0]
    # the file's first axis runs to the left, as on the screen; its second runs to the back, as the screen's down
    np.testing.assert_allclose(values, image[:, :, 2].T, atol=1e-4)
    assert [one["name"] for one in detail["planes"][1:]] == ["coronal", "sagittal"]
    coronal = np.frombuffer(asker.get(f"/api/volumes/{key}/planes/1/3").content, "<u2").reshape(6, 32)
    np.testing.assert_allclose(coronal * detail["slope"] + detail["offset"], image[:, 32, ::-1].T, atol=1e-4)
    thumbs = asker.get(f"/api/volumes/{key}/thumbs").content
    assert len(thumbs) == np.prod(detail["thumb"])
    for path in ("planes/0/6", "planes/3/0"):
        assert asker.get(f"/api/volumes/{key}/{path}").status_code == 400


def test_colour_picture(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    tmp_path.joinpath("d").mkdir()
    Image.fromarray(picture).save(tmp_path / "d/a.png")
    asker = Asker(tmp_path / "d")
    key = asker.id_of("a")
    detail = asker.get(f"/api/volumes/{key}").json()
    assert (detail["colour"], detail["planes"][0]["size"], len(detail["planes"])) == (True, [20, 30], 1)
    assert asker.get(f"/api/volumes/{key}/planes/0/0").content == picture.tobytes()
    asker.session.stop()


def test_broken_volumes_are_listed_with_the_reason(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 2)
    (root / "empty.nii.gz").write_bytes(b"")
    (root / "gone.nii.gz").symlink_to("nowhere.nii.gz")
    whole = (root / "p0/a.nii.gz").read_bytes()
    (root / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    asker = Asker(root)
    problems = {one["case"]: one["problem"] for one in asker.get("/api/overview").json()["volumes"]}
    assert problems["p0/a"] == problems["p1/a"] == problems["cut"] == ""
    assert "(0 bytes)" in problems["empty"]
    assert "broken link" in problems["gone"]
    answer = asker.get(f"/api/volumes/{asker.id_of('cut')}")
    assert answer.status_code == 422
    assert "truncated or damaged" in answer.json()["detail"]
    problems = {one["case"]: one["problem"] for one in asker.get("/api/overview").json()["volumes"]}
    assert "truncated or damaged" in problems["cut"], "known from now on"
    assert asker.get(f"/api/volumes/{asker.id_of('p1/a')}").status_code == 200
    asker.session.stop()


FOREIGN = [
    {"Host": "rebound.example:4711"},  # DNS rebinding
    {"Host": "127.0.0.1:80"},
    {"Origin": "http://foreign.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:9999"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/", "/api/overview", "/static/main.js"])
def test_foreign_pages_are_refused(asker: Asker, headers: dict[str, str], path: str) -> None:
    assert asker.get(path, headers=headers).status_code == 403
    body = {"revision": 0, "change": {"status": "done"}}
    url = f"/api/volumes/{asker.id_of('p0/a')}/act"
    assert asker.client.post(url, json=body, headers=headers).status_code == 403
    assert asker.session.store.revision == 0


def test_own_page_is_answered(asker: Asker) -> None:
    headers = {"Origin": OWN, "Sec-Fetch-Site": "same-origin"}
    page = asker.get("/", headers=headers)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert asker.get("/static/main.js").headers["Content-Type"].startswith("text/javascript")


def test_token(asker: Asker) -> None:
    asker.client.cookies.clear()
    for path in ("/", "/?token=wrong", "/api/overview", f"/api/overview?token={TOKEN}", "/static/main.js"):
        answer = asker.get(path)
        assert (answer.status_code, "the address that camtools tag printed" in answer.text) == (403, True), path
    answer = asker.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"camtools_tag_{PORT}={TOKEN}")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert asker.get("/api/overview").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/server.py",
        "/static/..%5cserver.py",
        "/static/%2fetc%2fpasswd",
        "/static//etc/passwd",
        "/api/volumes/..%2f..%2fetc%2fpasswd",
        "/api/volumes/p0%2fa",
        "/api/volumes/%2fetc%2fpasswd/thumbs",
        "/tags.csv",
        "/.camtools_tag/slices.jsonl",
    ],
)
def test_no_file_is_named_by_a_path(asker: Asker, path: str) -> None:
    assert asker.get(path).status_code in (400, 404)
    assert asker.client.post(path.replace("/thumbs", "") + "/act", json={}).status_code in (400, 404, 405)


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"{}", "text/plain", "Content-Type: expected application/json, found 'text/plain'"),
        (b"{", "application/json", "Body: expected JSON"),
        (b"[]", "application/json", "Body: expected a JSON object"),
        (b"[" * 100_000, "application/json", "Body: expected JSON"),
        (b" " * 2_000_001, "application/json", "Body: expected at most 2000000 bytes"),
        (b'{"revision": 0}', "application/json", "change: expected an object"),
        (b'{"revision": "0", "change": {"first": 1}}', "application/json", "revision: expected a whole number"),
        (b'{"revision": 0, "change": {"first": 9}}', "application/json", "expected pairs of slices from 0 to 5"),
        (b'{"revision": 0, "change": {"first": 1}, "client": 3}', "application/json", "client: expected a short text"),
    ],
)
def test_requests_are_checked(asker: Asker, body: bytes, kind: str, message: str) -> None:
    url = f"/api/volumes/{asker.id_of('p0/a')}/act"
    answer = asker.client.post(url, content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert message in answer.json()["detail"]
    assert asker.session.store.revision == 0


def test_results_go_into_the_folder_and_nowhere_else(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 1)
    (tmp_path / "outside.csv").write_text("image,slice,label\n")
    (root / "tags.csv").symlink_to(tmp_path / "outside.csv")
    write_volume(tmp_path / "elsewhere/b.nii.gz", blob_volume(5)[0], AXIAL)
    (root / "linked").symlink_to(tmp_path / "elsewhere")  # links of volumes are followed, as in all of camtools
    asker = Asker(root)
    assert asker.act("linked/b", 0, ranges=[[1, 1]], status="done").status_code == 200
    asker.session.stop()
    assert (tmp_path / "outside.csv").read_text() == "image,slice,label\n"
    assert rows_of(root / "tags.csv")["linked/b.nii.gz"] == [0, 1, 0, 0, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "elsewhere", "outside.csv"]
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["b.nii.gz"]
