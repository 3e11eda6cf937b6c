"""What is known about the tags of one volume, and how an action changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from camtools.tag.ranges import Range, merged

__all__ = ["STATUSES", "Record", "checked_change"]

STATUSES = ("", "open", "done", "unsure")
"""Not tagged, tagged and not confirmed, confirmed, left out."""

Change = dict[str, Any]


@dataclass
class Record:
    """Tags of a volume.

    Attributes:
        ranges: slices that show the object.
        first: first slice of a range whose last slice is not known yet.
        status: one of :data:`STATUSES`; tags of ``"done"`` are results.
        patches: classes by patch, whose key is ``"<slice>:<number in the grid>"``.
        revision: number of changes so far.
        by: who made the last one.
        at: when, ISO 8601.
        client: tab of the browser that made it.
        history: for each change that can be undone, the change that undoes it.
    """

    ranges: tuple[Range, ...] = ()
    first: int | None = None
    status: str = ""
    patches: dict[str, list[int]] = field(default_factory=dict)
    revision: int = 0
    by: str = ""
    at: str = ""
    client: str = ""
    history: list[Change] = field(default_factory=list)

    def apply(self, entry: Mapping[str, Any]) -> None:
        """Make the change of an entry of the journal."""
        change = entry["change"]
        inverse = self.inverse(change)
        if entry.get("undo"):
            self.history.pop()
        else:
            self.history.append(inverse)
        if "ranges" in change:
            self.ranges = tuple((int(first), int(last)) for first, last in change["ranges"])
        if "first" in change:
            self.first = change["first"]
        if "status" in change:
            self.status = change["status"]
        for key, classes in change.get("patches", {}).items():
            if classes is None:
                self.patches.pop(key, None)
            else:
                self.patches[key] = classes
        self.revision += 1
        self.by, self.at, self.client = (str(entry.get(key, "")) for key in ("by", "at", "client"))

    def inverse(self, change: Mapping[str, Any]) -> Change:
        """The change that restores what ``change`` replaces."""
        before: Change = {"ranges": [list(pair) for pair in self.ranges], "first": self.first, "status": self.status}
        inverse = {key: before[key] for key in before if key in change}
        if "patches" in change:
            inverse["patches"] = {key: self.patches.get(key) for key in change["patches"]}
        return inverse

    def as_json(self) -> dict[str, Any]:
        """What the page is told, without the patches."""
        return {
            "ranges": [list(pair) for pair in self.ranges],
            "first": self.first,
            "status": self.status,
            "revision": self.revision,
            "by": self.by,
            "at": self.at,
            "client": self.client,
            "can_undo": bool(self.history),
        }


def checked_change(content: Mapping[str, Any], slices: int, patches: int = 0, classes: int = 0) -> Change:
    """A change as a page may send it.

    Args:
        content: some of ``ranges``, ``first``, ``status`` and ``patches``.
        slices: of the volume.
        patches: of a slice; 0 where there are none.
        classes: of the patches.

    Raises:
        ValueError: it is something else; the message names the field.
    """
    unknown = sorted(set(content) - {"ranges", "first", "status", "patches"})
    if unknown or not content:
        raise ValueError(f"change: expected ranges, first, status or patches, found {unknown or 'nothing'}.")
    change: Change = {}
    if "ranges" in content:
        if not isinstance(content["ranges"], list):
            raise ValueError(f"ranges: expected a list, found {content['ranges']!r}.")
        change["ranges"] = [list(pair) for pair in merged(content["ranges"], slices)]
    if "first" in content:
        change["first"] = None if content["first"] is None else merged([[content["first"]] * 2], slices)[0][0]
    if "status" in content:
        if content["status"] not in STATUSES:
            raise ValueError(f"status: expected one of {', '.join(STATUSES[1:])}, found {content['status']!r}.")
        change["status"] = content["status"]
    if "patches" in content:
        change["patches"] = _checked_patches(content["patches"], slices, patches, classes)
    return change


def _checked_patches(content: Any, slices: int, patches: int, classes: int) -> dict[str, list[int] | None]:
    if not isinstance(content, dict):
        raise ValueError(f"patches: expected classes by patch, found {content!r}.")
    keys = {f"{index}:{number}" for index in range(slices) for number in range(patches)}
    found: dict[str, list[int] | None] = {}
    for key, value in content.items():
        if key not in keys:
            raise ValueError(f"patches: expected patches such as '0:3' of this volume, found {key!r}.")
        is_list = isinstance(value, list) and all(type(number) is int and 0 <= number < classes for number in value)
        if value is not None and (not is_list or not value):
            raise ValueError(f"patches: expected classes from 0 to {classes - 1}, found {value!r}.")
        found[key] = None if value is None else sorted(set(value))
    return found
