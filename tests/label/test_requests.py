"""What a request to the label server may hold (camtools.label.requests, camtools.label.places)."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from camtools.label.places import Places, web_origin
from camtools.label.requests import BATCH, INFER, NEXT, TRAIN, RequestError, checked, plain_name

pytest.importorskip("monailabel.utils.others.generic", reason="needs the extra 'label'")

PAYLOADS = [
    "$__import__('os').getpid()",
    " $1",
    "@bundle_root",
    "%/etc/passwd",
    "5",
    "",
    ["$1"],
    {"a": "$1"},
    {"_target_": "os.getpid"},
    float("nan"),
    float("inf"),
    -1e9,
    1e9,
]


@pytest.mark.parametrize("payload", [*PAYLOADS, True], ids=repr)
@pytest.mark.parametrize(
    "field", ["max_epochs", "classifier_epochs", "pretrain_epochs", "min_area_fraction", "val_split"]
)
def test_numbers_are_numbers_within_ranges(field: str, payload: Any) -> None:
    with pytest.raises(RequestError, match=rf"^{field}: expected a (whole )?number from \S+ to \S+, found "):
        checked({field: payload}, TRAIN)


@pytest.mark.parametrize("payload", [*PAYLOADS, 1, 0, "true"], ids=repr)
@pytest.mark.parametrize(("rules", "field"), [(TRAIN, "multi_gpu"), (TRAIN, "pretrained"), (INFER, "save_label")])
def test_flags_are_true_or_false(rules: Any, field: str, payload: Any) -> None:
    with pytest.raises(RequestError, match=f"^{field}: expected true or false, found "):
        checked({field: payload}, rules)


@pytest.mark.parametrize(
    "payload", [value for value in PAYLOADS if value != ""] + ["../x", "cuda:0;$1", "cpu\n"], ids=repr
)
@pytest.mark.parametrize(
    ("rules", "field"),
    [
        (TRAIN, "device"),
        (TRAIN, "gpus"),
        (TRAIN, "model_filename"),
        (TRAIN, "run_id"),
        (TRAIN, "tracking"),
        (TRAIN, "tracking_experiment_name"),
        (INFER, "device"),
        (INFER, "model_filename"),
        (INFER, "label_tag"),
        (INFER, "logging"),
        (INFER, "result_extension"),
        (INFER, "result_dtype"),
        (BATCH, "images"),
        (BATCH, "max_workers"),
        (NEXT, "label_tag"),
    ],
)
def test_names_come_from_lists_and_patterns(rules: Any, field: str, payload: Any) -> None:
    if payload == "5" and field in ("gpus", "tracking_experiment_name", "label_tag"):
        payload = "$5"
    if payload == ["$1"] and field == "images":
        payload = ["../1"]  # "$1" may be the name of a volume, and is never more than that
    with pytest.raises(RequestError, match=f"^{field}: expected .*, found "):
        checked({field: payload}, rules)


def test_what_clients_send_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    train = {
        "model": "umcam",
        "device": "cpu",
        "pretrained": True,
        "max_epochs": 50,
        "val_split": 0.2,
        "multi_gpu": True,
        "gpus": "all",
        "tracking": "None",
        "tracking_experiment_name": "",
        "model_filename": "model.pt",
        "classifier_epochs": 3,
        "min_area_fraction": 0.01,
    }
    ignored = {"client_id": "slicer", "tracking_uri": "", "bundle_path": "/x"}
    with caplog.at_level(logging.WARNING, "camtools"):
        assert checked(train | ignored, TRAIN) == train
        assert not caplog.messages
        assert checked({"max_epochs": None, "epochs": 3, "dataset": "$1"}, TRAIN) == {}
    assert caplog.messages == ["Fields of the request that are not used: 'dataset', 'epochs'"]
    infer = {"model": "umcam", "result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": False}
    assert checked(infer | {"largest_cc": False}, INFER) == infer
    batch = {"device": "cuda", "images": ["case 1", "$x"], "max_workers": 1, "label_tag": "original"}
    assert checked(batch, BATCH) == batch
    assert checked({"val_split": -1, "max_epochs": 5.0}, TRAIN) == {"val_split": -1, "max_epochs": 5}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\\b", "a\nb", "a\x1b[31m", "a" * 251, 7, None, ["a"]])
def test_names_are_plain(name: Any) -> None:
    with pytest.raises(RequestError, match="^image: expected a plain name without"):
        plain_name("image", name)


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(RequestError) as caught:
        checked({"max_epochs": "x" * 5000}, TRAIN)
    assert len(str(caught.value)) < 200
    assert json.dumps(str(caught.value)).isascii()


@pytest.mark.parametrize(
    ("places", "host", "own"),
    [
        (Places(), "127.0.0.1:8000", True),
        (Places(), "LOCALHOST:8000", True),
        (Places(), "[::1]:8000", True),
        (Places(), "127.0.0.1", False),
        (Places(), "127.0.0.1:8001", False),
        (Places(), "0.0.0.0:8000", False),
        (Places(), "rebound.example:8000", False),
        (Places(), "127.0.0.1.rebound.example:8000", False),
        (Places(), "rebound.example@127.0.0.1:8000", False),
        (Places(), "localhost.:8000", False),
        (Places(), "192.168.1.5:8000", False),
        (Places(), "", False),
        (Places(port=80), "localhost", True),
        (Places("192.168.1.5"), "192.168.1.5:8000", True),
        (Places("192.168.1.5"), "192.168.1.6:8000", False),
        (Places("0.0.0.0"), "192.168.1.5:8000", True),
        (Places("::"), "[fe80::1]:8000", True),
        (Places("0.0.0.0"), "192.168.1.5:8001", False),
        (Places("0.0.0.0"), "rebound.example:8000", False),
        (Places(allowed=("http://localhost:9000",)), "localhost:9000", True),
    ],
)
def test_hosts(places: Places, host: str, own: bool) -> None:
    assert places.is_own_host(host) is own


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000", True),
        ("https://viewer.example", True),
        ("null", False),
        ("", False),
        ("http://localhost:3000", False),
        ("https://localhost:8000", False),
        ("http://foreign.example", False),
        ("http://localhost:8000.foreign.example", False),
        ("http://viewer.example", False),
        ("file://", False),
    ],
)
def test_origins(origin: str, own: bool) -> None:
    places = Places(allowed=("https://viewer.example",))
    assert places.is_own_origin(origin, "localhost:8000") is own


@pytest.mark.parametrize(
    "address", ["*", "http://*", "viewer.example", "http://a/b", "null", "http://a@b", "file:///x"]
)
def test_further_origins_are_single_addresses(address: str) -> None:
    with pytest.raises(ValueError, match=r"--allow-origin: expected an address such as https://viewer\.example:3000"):
        web_origin(address)
    assert web_origin("http://[::1]:3000/") == "http://[::1]:3000"
