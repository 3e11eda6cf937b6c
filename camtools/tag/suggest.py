"""Suggestions: the tags that the classifier of a run gives to volumes that nobody has tagged yet."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camtools.data.errors import DataError, reason
from camtools.data.files import write_json
from camtools.engine.records import read_json_object
from camtools.tag.listing import TagFolder, TagVolume
from camtools.tag.ranges import ranges_of

__all__ = ["Suggestion", "Suggestions"]

logger = logging.getLogger("camtools")

Classifier = Callable[[Path], list[float]]
"""Probability of each slice to show the object, of the volume in a file."""


@dataclass(frozen=True)
class Suggestion:
    """What the classifier says about a volume.

    Attributes:
        probabilities: one for each slice, 0..1.
    """

    probabilities: tuple[float, ...]

    @property
    def unsure(self) -> float:
        """Mean over the slices of ``1 - |2 p - 1|``: 0 where every slice is sure, 1 where none is.

        Example:
            >>> Suggestion((1.0, 0.5, 0.0, 0.5)).unsure
            0.5
        """
        return sum(1 - abs(2 * p - 1) for p in self.probabilities) / len(self.probabilities)

    def as_json(self) -> dict[str, Any]:
        """What the page draws."""
        tags = [int(p > 0.5) for p in self.probabilities]
        return {"ranges": [list(pair) for pair in ranges_of(tags)], "probabilities": list(self.probabilities)}


class Suggestions:
    """Suggestions for a folder, computed in a thread of their own and kept for the next start.

    Args:
        load: makes the classifier; called in the thread.
        stamp: tells the classifier, such as the hash of its weights: suggestions of another one are not used.
    """

    def __init__(self, load: Callable[[], Classifier], stamp: str) -> None:
        self.finished: list[str] = []
        self.problem = ""
        self._load = load
        self._stamp = stamp
        self._found: dict[str, Suggestion] = {}
        self._failure = ""  # of the last volume without a suggestion
        self._stopped = False
        self._thread: threading.Thread | None = None

    def of(self, key: str) -> Suggestion | None:
        """The suggestion for a volume, by id."""
        return self._found.get(key)

    def start(self, folder: TagFolder, is_untagged: Callable[[TagVolume], bool]) -> None:
        """Begin to compute."""
        self._thread = threading.Thread(target=self._work, args=(folder, is_untagged), name="suggestions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the volume at work."""
        self._stopped = True
        if self._thread is not None:
            self._thread.join()

    def _work(self, folder: TagFolder, is_untagged: Callable[[TagVolume], bool]) -> None:
        path = folder.state_dir / "suggestions.json"
        known = self._take_known(path, folder)
        try:
            missing = [one for one in folder.volumes.values() if one.id not in self._found and is_untagged(one)]
            classify = self._load() if missing else None
            for volume in missing:
                if self._stopped or classify is None:
                    break
                self._suggest(volume, classify, known)
            if self._failure and not self._found:
                self.problem = f"No suggestions: {self._failure}"
            if missing:
                write_json({"classifier": self._stamp, "volumes": known}, path)
        except Exception as error:
            self.problem = f"No suggestions: {reason(error)}"
            logger.warning("%s", self.problem)

    def _take_known(self, path: Path, folder: TagFolder) -> dict[str, Any]:
        content = read_json_object(path)[0] or {}
        if content.get("classifier") != self._stamp:
            return {}
        known: dict[str, Any] = content.get("volumes", {})
        for case, entry in known.items():
            volume = folder.of_case(case)
            if volume is not None and entry["file"] == _stamp(volume.path) and not volume.problem:
                self._add(volume, entry["probabilities"])
        return known

    def _suggest(self, volume: TagVolume, classify: Classifier, known: dict[str, Any]) -> None:
        try:
            found = [round(p, 4) for p in classify(volume.path)]
            if len(found) != volume.slices:
                raise DataError(f"Expected {volume.slices} slices in {volume.path}, found {len(found)}.")
        except Exception as error:  # one volume never stops the others
            self._failure = reason(error)
            logger.warning("No suggestion for %s: %s", volume.case, self._failure)
            return
        known[volume.case] = {"file": _stamp(volume.path), "probabilities": found}
        self._add(volume, found)

    def _add(self, volume: TagVolume, probabilities: list[float]) -> None:
        self._found[volume.id] = Suggestion(tuple(probabilities))
        self.finished.append(volume.id)


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
