"""Tags on disk (camtools.tag.store, journal, records): nothing is lost, nobody's change is overwritten."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from camtools.data.errors import DataError
from camtools.tag.ranges import merged
from camtools.tag.records import checked_change
from camtools.tag.store import Conflict, TagStore


def change(first: int, last: int, status: str = "open") -> dict[str, object]:
    return {"ranges": [[first, last]], "status": status}


def test_an_action_is_on_the_disk_when_it_returns(tmp_path: Path) -> None:
    store = TagStore(tmp_path / "t.jsonl")
    store.act("p1/a", 0, change(2, 4), client="tab", by="anna")
    (line,) = (tmp_path / "t.jsonl").read_text().splitlines()
    assert json.loads(line)["change"] == {"ranges": [[2, 4]], "status": "open"}
    again = TagStore(tmp_path / "t.jsonl").record("p1/a")
    assert (again.ranges, again.status, again.revision, again.by, again.client) == (((2, 4),), "open", 1, "anna", "tab")


def test_undo_goes_back_to_the_start_also_after_a_restart(tmp_path: Path) -> None:
    store = TagStore(tmp_path / "t.jsonl")
    store.act("a", 0, {"first": 2, "status": "open"})
    store.act("a", 1, {"ranges": [[2, 4]], "first": None})
    store.act("a", 2, {"status": "done"})
    store = TagStore(tmp_path / "t.jsonl")
    assert store.undo("a", 3).status == "open"
    record = store.undo("a", 4)
    assert (record.ranges, record.first) == ((), 2)
    store = TagStore(tmp_path / "t.jsonl")
    record = store.undo("a", 5)
    assert (record.first, record.status, record.revision) == (None, "", 6)
    assert store.undo("a", 6).revision == 6, "nothing left to undo"


def test_undo_of_patches(tmp_path: Path) -> None:
    store = TagStore(tmp_path / "t.jsonl")
    store.act("a", 0, {"patches": {"0:1": [0]}})
    store.act("a", 1, {"patches": {"0:1": [1], "0:2": [0, 1]}})
    assert store.undo("a", 2).patches == {"0:1": [0]}
    assert store.undo("a", 3).patches == {}


def test_stale_revision_is_refused(tmp_path: Path) -> None:
    store = TagStore(tmp_path / "t.jsonl")
    store.act("a", 0, change(1, 2), by="anna")
    with pytest.raises(Conflict, match=r"Expected revision 0 of 'a', found 1: anna changed its tags at .* repeat"):
        store.act("a", 0, change(5, 6))
    assert store.record("a").ranges == ((1, 2),)
    with pytest.raises(Conflict):
        store.undo("a", 0)


def test_two_processes_see_each_other(tmp_path: Path) -> None:
    one, two = TagStore(tmp_path / "t.jsonl"), TagStore(tmp_path / "t.jsonl")
    told = []
    two.on_change = lambda: told.append(1)
    one.act("a", 0, change(1, 2))
    with pytest.raises(Conflict):
        two.act("a", 0, change(5, 6))
    assert two.record("a").ranges == ((1, 2),)
    one.act("b", 0, change(0, 0))
    assert two.changed_since(0) == (2, ["a", "b"])
    assert two.changed_since(1) == (2, ["b"])
    assert len(told) == 2
    two.act("b", 1, change(0, 1))
    assert one.changed_since(2) == (3, ["b"])


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    stores = [TagStore(tmp_path / "t.jsonl") for _ in range(4)]

    def work(number: int) -> None:
        for index in range(10):
            stores[number].act(f"{number}-{index}", 0, change(index, index))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = TagStore(tmp_path / "t.jsonl")
    assert found.revision == 40
    assert all(found.record(f"{n}-{i}").ranges == ((i, i),) for n in range(4) for i in range(10))


def test_torn_line_is_removed_and_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    TagStore(path).act("a", 0, change(1, 2))
    with path.open("ab") as handle:
        handle.write(b'nonsense\n[]\n{"case": "a"}\n{"case": "a", "change": {"ran')
    store = TagStore(path)
    assert store.record("a").ranges == ((1, 2),)
    store.act("a", 1, change(3, 4))
    assert TagStore(path).record("a").ranges == ((3, 4),)
    assert path.read_bytes().endswith(b"\n")


def test_journal_that_was_replaced(tmp_path: Path) -> None:
    store = TagStore(tmp_path / "t.jsonl")
    store.act("a", 0, change(1, 2))
    (tmp_path / "t.jsonl").write_text("")
    with pytest.raises(DataError, match="found it shorter than before: somebody has replaced it"):
        store.act("a", 1, change(1, 2))


def test_killed_process_keeps_what_was_answered(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        store = TagStore(path)
        for k in range(1000):
            store.act("a", k, {"ranges": [[k, k]]})
            os.write(writer, b".")
            if k == 20:
                os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(writer)
    last = len(os.read(reader, 1000)) - 1
    os.close(reader)
    assert last == 20
    assert TagStore(path).record("a").ranges == ((20, 20),)


def test_ranges_are_merged_and_checked() -> None:
    assert merged([[3, 1], [4, 4], [8, 9]], 10) == ((1, 4), (8, 9))
    for wrong in ([[0, 10]], [[-1, 2]], [[1]], [["1", 2]], [[True, 2]], [3]):
        with pytest.raises(ValueError, match=r"ranges: expected pairs of slices from 0 to 9, found"):
            merged(wrong, 10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "change: expected ranges, first, status or patches, found nothing"),
        ({"label": 1}, r"found \['label'\]"),
        ({"ranges": 3}, "ranges: expected a list, found 3"),
        ({"first": 6}, "expected pairs of slices from 0 to 5"),
        ({"status": "perfect"}, "status: expected one of open, done, unsure, found 'perfect'"),
        ({"patches": []}, "patches: expected classes by patch"),
        ({"patches": {"6:0": [0]}}, "expected patches such as '0:3' of this volume, found '6:0'"),
        ({"patches": {"0:0": [2]}}, r"expected classes from 0 to 1, found \[2\]"),
        ({"patches": {"0:0": []}}, r"expected classes from 0 to 1, found \[\]"),
    ],
)
def test_changes_are_checked(content: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_change(content, slices=6, patches=4, classes=2)
