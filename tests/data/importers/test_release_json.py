"""The dataset.json of releases: what cannot be used is named with its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from camtools.data import DataError
from camtools.data.importers.release_json import choose_channels, choose_classes, read_release
from tests.data.importers.releases import write_json

CHANNELS = {"0": "MRI", "1": "MRI"}


def test_both_ways_to_write_classes(tmp_path: Path) -> None:
    write_json(tmp_path, modality=CHANNELS, labels={"0": "background", "1": "a", "2": "b"})
    first = read_release(tmp_path)
    write_json(tmp_path, channel_names=CHANNELS, labels={"background": 0, "a": 1, "b": 2, "ignore": 3})
    second = read_release(tmp_path)
    assert first.classes == second.classes == {"a": (1,), "b": (2,)}
    assert (first.ignored, second.ignored) == (None, 3)
    assert choose_classes(second, "a").ignored == 3
    assert first.name == tmp_path.name


def test_channels_of_one_name_are_chosen_by_number(tmp_path: Path) -> None:
    write_json(tmp_path, modality=CHANNELS, labels={"1": "a"})
    release = read_release(tmp_path)
    assert choose_channels(release, "0001") == (1,)
    with pytest.raises(
        ValueError, match=r"name of one channel, found 'MRI' for 2\. Give its number: MRI \(0000\), MRI"
    ):
        choose_channels(release, "MRI")


def test_no_file_no_json_no_object(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Expected dataset.json in .*, found none\. Give the folder of one dataset"):
        read_release(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DataError, match=r"Expected JSON, found something else in .*dataset.json"):
        read_release(tmp_path)
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(DataError, match=r"Expected a JSON object, found a list in .*dataset.json"):
        read_release(tmp_path)


@pytest.mark.parametrize("labels", [None, [], {}, {"background": 0}, {"a": "b"}, {"a": -1}, {"a": 0.5}])
def test_labels_that_cannot_be_used(tmp_path: Path, labels: Any) -> None:
    write_json(tmp_path, modality=CHANNELS, labels=labels)
    with pytest.raises(DataError, match=r'Expected "labels" with the classes, .* in .*dataset.json\. Correct the file'):
        read_release(tmp_path)


@pytest.mark.parametrize("channels", [None, [], {}, {"T1": "0"}])
def test_channels_that_cannot_be_used(tmp_path: Path, channels: Any) -> None:
    write_json(tmp_path, modality=channels, labels={"1": "a"})
    with pytest.raises(DataError, match=r'Expected "channel_names" or "modality" .* in .*dataset.json\. Correct the'):
        read_release(tmp_path)
