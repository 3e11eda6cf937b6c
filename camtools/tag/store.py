"""Tags of a folder: changed by actions that are checked against the revision they were made on."""

from __future__ import annotations

import getpass
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from camtools.tag.journal import Journal
from camtools.tag.records import Record

__all__ = ["Conflict", "TagStore"]


class Conflict(RuntimeError):  # noqa: N818 (the name of the HTTP status)
    """An action was made on tags that somebody has changed since."""


class TagStore:
    """The records of all cases, in memory and in a journal that other processes may write, too.

    Args:
        path: the journal.
        on_change: called after every change, by this process or another one.
    """

    def __init__(self, path: Path, on_change: Callable[[], None] | None = None) -> None:
        self.journal = Journal(path)
        self.records: dict[str, Record] = defaultdict(Record)
        self.log: list[str] = []
        self.on_change = on_change
        self._lock = threading.RLock()
        self.sync()

    @property
    def revision(self) -> int:
        """Number of changes of all cases."""
        return len(self.log)

    def sync(self) -> None:
        """Read what others have appended."""
        with self._lock:
            if not self.journal.has_news():
                return
            with self.journal.locked():
                changed = self._take_in()
        if changed:
            self._tell()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Up to date, and unchanged by anybody until the block ends."""
        with self._lock, self.journal.locked():
            self._take_in()
            yield

    def record(self, case: str) -> Record:
        """The record of a case, an empty one where nothing is known."""
        with self._lock:
            return self.records.get(case, Record())

    def changed_since(self, revision: int) -> tuple[int, list[str]]:
        """Revision now, and the cases that changed after an earlier one."""
        self.sync()
        with self._lock:
            return len(self.log), list(dict.fromkeys(self.log[max(revision, 0) :]))

    def act(self, case: str, base: int, change: Mapping[str, Any], client: str = "", by: str = "") -> Record:
        """Change the tags of a case; on the disk when this returns.

        Args:
            case: name of it.
            base: revision of the record that the change was made on.
            change: see :func:`camtools.tag.records.checked_change`.
            client: tab of the browser.
            by: who; the user of this process by default.

        Raises:
            Conflict: the record has another revision.
            StorageError: the disk is full, or the like; nothing has changed then.
        """
        return self._append(case, base, lambda record: {"change": dict(change)}, client, by)

    def undo(self, case: str, base: int, client: str = "") -> Record:
        """Take back the last change of a case; without one, nothing happens.

        Raises:
            Conflict: the record has another revision.
        """

        def last(record: Record) -> dict[str, Any] | None:
            return {"change": record.history[-1], "undo": True} if record.history else None

        return self._append(case, base, last, client, "")

    def _append(
        self,
        case: str,
        base: int,
        entry_of: Callable[[Record], dict[str, Any] | None],
        client: str,
        by: str,
    ) -> Record:
        with self._lock, self.journal.locked():
            news = self._take_in()
            record = self.records[case]
            entry = None
            if record.revision == base:
                entry = entry_of(record)
            if entry is not None:
                now = datetime.now(timezone.utc).isoformat(timespec="seconds")
                entry = {"case": case, **entry, "by": by or _user(), "client": client, "at": now}
                self.journal.append(entry)
                self._apply(entry)
        if news or entry is not None:
            self._tell()
        if record.revision != base and entry is None:
            raise Conflict(
                f"Expected revision {base} of '{case}', found {record.revision}: {record.by or 'somebody'} changed its "
                f"tags at {record.at} in another tab or program. The new tags are shown; repeat your change."
            )
        return record

    def _take_in(self) -> int:
        entries = self.journal.read_new()
        for entry in entries:
            self._apply(entry)
        return len(entries)

    def _apply(self, entry: Mapping[str, Any]) -> None:
        self.records[entry["case"]].apply(entry)
        self.log.append(entry["case"])

    def _tell(self) -> None:
        if self.on_change is not None:
            self.on_change()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
