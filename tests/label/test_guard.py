"""Which requests reach the label server (camtools.label.guard)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from camtools.label.guard import MOST_BYTES, Guard
from camtools.label.places import Places

pytest.importorskip("monailabel.utils.others.generic", reason="needs the extra 'label'")

HOST = "127.0.0.1:8000"
BODY = json.dumps({"max_epochs": 2}).encode()


def ask(
    method: str = "POST",
    path: str = "/train/umcam",
    headers: list[tuple[str, str]] | None = None,
    query: str = "",
    body: bytes = BODY,
    kind: str = "http",
    places: Places | None = None,
) -> tuple[int, str, bytes | None]:
    """Status, detail, and the body that arrived behind the guard (None: nothing did)."""
    arrived: list[bytes] = []
    sent: list[dict[str, Any]] = []
    received = [body[:10], body[10:]]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        arrived.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"detail": ""}'})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": received.pop(0), "more_body": bool(received)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": kind, "method": method, "path": path, "query_string": query.encode()}
    given = [("Host", HOST)] if headers is None else headers
    scope["headers"] = [(name.lower().encode(), value.encode("latin-1")) for name, value in given]
    asyncio.run(Guard(app, places or Places())(scope, receive, send))
    if sent[0]["type"] == "websocket.close":
        return 403, "", None
    return sent[0]["status"], json.loads(sent[1]["body"])["detail"], arrived[0] if arrived else None


@pytest.mark.parametrize(
    "more",
    [
        [],  # 3D Slicer, curl
        [("Origin", "http://127.0.0.1:8000"), ("Sec-Fetch-Site", "same-origin")],  # OHIF, served by the server
        [("Origin", "http://localhost:8000")],
        [("Sec-Fetch-Site", "none")],  # an address that was typed
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD"])
def test_own_pages_and_programs_are_answered(method: str, more: list[tuple[str, str]]) -> None:
    status, _, arrived = ask(method, headers=[("Host", HOST), *more])
    assert status == 200
    assert arrived is not None


FOREIGN = [
    [("Host", HOST), ("Origin", "http://foreign.example")],
    [("Host", HOST), ("Origin", "null")],
    [("Host", HOST), ("Origin", "")],
    [("Host", HOST), ("Origin", "http://localhost:3000"), ("Sec-Fetch-Site", "same-site")],
    [("Host", HOST), ("Origin", "http://127.0.0.1:8000"), ("Origin", "http://foreign.example")],
    [("Host", HOST), ("Origin", "http://foreign.example"), ("Content-Type", "text/plain")],
    [("Host", HOST), ("Origin", "chrome-extension://abc")],
    [("Host", HOST), ("Sec-Fetch-Site", "cross-site")],
    [("Host", HOST), ("Sec-Fetch-Site", "same-site")],
    [("Host", "rebound.example:8000"), ("Origin", "http://rebound.example:8000"), ("Sec-Fetch-Site", "same-origin")],
    [("Host", "rebound.example:8000")],
    [("Host", "127.0.0.1:80")],
    [("Host", HOST), ("Host", "rebound.example")],
    [],
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_foreign_pages_and_hosts_are_refused(method: str, headers: list[tuple[str, str]]) -> None:
    status, detail, arrived = ask(method, headers=headers)
    assert status == 403
    assert arrived is None
    assert detail.startswith(
        ("Host: expected a name of", "Origin: expected a page of", "Sec-Fetch-Site: expected a req")
    )


def test_a_viewer_that_was_named_is_answered() -> None:
    places = Places(allowed=("http://localhost:3000",))
    headers = [("Host", HOST), ("Origin", "http://localhost:3000"), ("Sec-Fetch-Site", "same-site")]
    assert ask(headers=headers, places=places)[0] == 200


def test_web_sockets_are_refused() -> None:
    assert ask(kind="websocket") == (403, "", None)


@pytest.mark.parametrize("path", ["/proxy/dicom/../../tools", "/session/..", "/a/%2e%2e/b", "/a/..\\b", "/ohif/a\nb"])
def test_paths_go_down_only(path: str) -> None:
    status, detail, arrived = ask("GET", path)
    assert (status, arrived) == (400, None)
    assert detail.startswith("Path: expected no .. and no control character, found ")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("image=..%2Fx", "image: expected a plain name without"),
        ("image=a&image=%2Fetc%2Fpasswd", "image: expected a plain name without"),
        ("tag=..%2F..%2Fx", "tag: expected a plain name without"),
        ("id=..", "id: expected a plain name without"),
        ("label=a%00", "label: expected a plain name without"),
        ("session_id=..%2Fx", "session_id: expected one that PUT /session/ gave"),
        ("session_id=%2Ftmp", "session_id: expected one that PUT /session/ gave"),
    ],
)
def test_names_in_the_query_are_plain(query: str, message: str) -> None:
    status, detail, arrived = ask("PUT", "/datastore/label", query=query)
    assert (status, arrived) == (400, None)
    assert detail.startswith(message)


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("/train/umcam", {"max_epochs": "$1"}, "max_epochs: expected a whole number"),
        ("/train/train", {"max_epochs": [1]}, "max_epochs: expected a whole number"),
        ("/train/", {"umcam": {"classifier_epochs": "$1"}}, "classifier_epochs: expected a whole number"),
        ("/train", {"umcam": {"device": "$1"}}, "device: expected cpu, cuda"),
        ("/train/", {"umcam": {"bundle_path": "/x"}}, "bundle_path: expected none"),
        ("/train/umcam", [1], "Body: expected names with values, found list"),
        ("/batch/infer/umcam", {"bundle_path": "/x"}, "bundle_path: expected none, since the server sets it"),
        ("/batch/infer/umcam", {"label_tag": "../../x"}, "label_tag: expected letters"),
        ("/batch/infer/umcam", {"images": ["/etc/passwd"]}, "images: expected a plain name"),
        ("/batch/infer/umcam", {"gpus": 1}, "gpus: expected 'all'"),
        ("/activelearning/random", {"strategy": {"a": 1}}, "strategy: expected letters"),
        ("/scoring/dice", {"local_rank": 1}, "local_rank: expected none"),
    ],
)
def test_bodies_are_checked_before_a_task_starts(path: str, content: Any, message: str) -> None:
    status, detail, arrived = ask(path=path, body=json.dumps(content).encode())
    assert (status, arrived) == (400, None)
    assert detail.startswith(message)


@pytest.mark.parametrize("body", [b"max_epochs=2", b"{", b"[" * 100_000, b"\xff\xfe", b" " * MOST_BYTES + b"  1"])
def test_other_bodies_are_refused(body: bytes) -> None:
    status, detail, arrived = ask(body=body)
    assert (status, arrived) == (400, None)
    assert detail.startswith("Body: expected ")


@pytest.mark.parametrize(
    ("path", "content", "known"),
    [
        ("/train/umcam", {"max_epochs": 2, "dataset": "$1"}, {"max_epochs": 2}),
        ("/train/", {"umcam": {"max_epochs": 2, "x": "$1"}}, {"umcam": {"max_epochs": 2}}),
        ("/scoring/", {"x": "$1"}, {}),
    ],
)
def test_only_what_is_known_goes_on(path: str, content: Any, known: Any) -> None:
    status, _, arrived = ask(path=path, body=json.dumps(content).encode())
    assert status == 200
    assert json.loads(arrived or b"") == known


def test_no_body_stays_none() -> None:
    assert ask(body=b"") == (200, "", b"")
