"""One tagging session: the folder, its tags, its pixels and the suggestions, as the page asks for them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from camtools.data.errors import DataError, reason
from camtools.patches import PatchGrid
from camtools.tag.cache import PixelCache
from camtools.tag.listing import TagFolder, TagVolume
from camtools.tag.pixels import Pixels, read_pixels
from camtools.tag.planes import Plane
from camtools.tag.records import checked_change
from camtools.tag.results import Corners
from camtools.tag.splits import SplitSettings
from camtools.tag.store import TagStore
from camtools.tag.suggest import Suggestions
from camtools.tag.writer import ResultWriter

__all__ = ["TagOptions", "TagSession"]

Json = dict[str, Any]


@dataclass(frozen=True)
class TagOptions:
    """What is tagged.

    Attributes:
        labels: names of the classes, the background first.
        grid: patches to tag; None: slices.
        pixel_size: in mm, of the slices that patches are cut from; None: the file's own.
        cache_bytes: of the volumes that are kept ready.
    """

    labels: tuple[str, ...] = ("background", "object")
    grid: PatchGrid | None = None
    pixel_size: float | None = None
    cache_bytes: int = 2_000_000_000


class TagSession:
    """What the server answers, without the server.

    Args:
        folder: the folder.
        options: what is tagged.
        suggestions: of a trained classifier.
    """

    def __init__(
        self, folder: TagFolder, options: TagOptions | None = None, suggestions: Suggestions | None = None
    ) -> None:
        self.folder = folder
        self.options = options or TagOptions()
        self.suggestions = suggestions
        name = "slices" if self.options.grid is None else "patches"
        self.store = TagStore(folder.state_dir / f"{name}.jsonl")
        corners = None if self.options.grid is None else self.corners
        self.writer = ResultWriter(folder, self.store, self.options.labels, corners)
        self.cache = PixelCache(self._read, self.options.cache_bytes)
        self._corners: dict[str, Corners] = {}
        self._corners_lock = threading.Lock()

    def start(self) -> None:
        """Begin to write results and to compute suggestions."""
        self.writer.start()
        if self.suggestions is not None:
            self.suggestions.start(self.folder, self._is_untagged)

    def stop(self) -> None:
        """Write what is left."""
        self.cache.stop()
        if self.suggestions is not None:
            self.suggestions.stop()
        self.writer.stop()

    def volume(self, key: str) -> TagVolume:
        """The volume of an address.

        Raises:
            KeyError: there is none.
        """
        return self.folder.volumes[key]

    def overview(self) -> Json:
        """All volumes and what is known about them."""
        self.store.sync()
        grid = self.options.grid
        return {
            "folder": self.folder.root.name,
            "mode": "slices" if grid is None else "patches",
            "labels": list(self.options.labels),
            "revision": self.store.revision,
            "problem": self.writer.problem,
            "suggesting": self.suggestions is not None,
            "table": self.writer.table,
            "volumes": [self.summary(volume) for volume in self.folder.volumes.values()],
        }

    def changes(self, revision: int, suggested: int) -> Json:
        """What is new after a revision and a number of suggestions."""
        now, cases = self.store.changed_since(revision)
        found = [volume for case in cases if (volume := self.folder.of_case(case)) is not None]
        new = self.suggestions.finished[max(suggested, 0) :] if self.suggestions else []
        found += [self.folder.volumes[key] for key in new if self.folder.volumes[key] not in found]
        return {
            "revision": now,
            "suggested": len(self.suggestions.finished) if self.suggestions else 0,
            "problem": self.writer.problem or (self.suggestions.problem if self.suggestions else ""),
            "volumes": [self.summary(volume) for volume in found],
        }

    def summary(self, volume: TagVolume) -> Json:
        """One volume in the list."""
        summary: Json = {"id": volume.id, "case": volume.case, "slices": volume.slices, "problem": volume.problem}
        found = self.suggestions.of(volume.id) if self.suggestions else None
        summary["unsure"] = None if found is None else found.unsure
        return summary | self.store.record(volume.case).as_json()

    def detail(self, key: str) -> Json:
        """One volume with everything that is needed to draw it.

        Raises:
            KeyError: there is no such volume.
            DataError: it cannot be read.
        """
        volume = self.volume(key)
        pixels = self.pixels(key)
        found = self.suggestions.of(key) if self.suggestions else None
        detail = self.summary(volume) | {
            "planes": [_plane_json(plane) for plane in pixels.planes],
            "colour": pixels.is_colour,
            "slope": pixels.slope,
            "offset": pixels.offset,
            "window": list(pixels.window),
            "thumb": list(pixels.thumbs.shape),
            "suggestion": None if found is None else found.as_json(),
        }
        if self.options.grid is not None:
            detail["patches"] = dict(self.store.record(volume.case).patches)
            detail["grid"] = {"size": self.options.grid.size, "corners": [list(c) for c in self.corners(volume)]}
        return detail

    def pixels(self, key: str) -> Pixels:
        """The voxels of a volume; what is wrong with it is then known.

        Raises:
            DataError: it cannot be read.
        """
        volume = self.volume(key)
        if volume.problem:
            raise DataError(volume.problem)
        return self.cache.get(key)

    def act(self, key: str, content: Mapping[str, Any]) -> Json:
        """Change the tags of a volume.

        Raises:
            ValueError: the request is not one that the page sends.
            Conflict: somebody was faster.
        """
        volume = self.volume(key)
        grid = self.options.grid
        patches = 0 if grid is None else len(self.corners(volume))
        change = checked_change(_dictionary(content, "change"), volume.slices, patches, len(self.options.labels))
        self._check_whole(volume, change, patches)
        record = self.store.act(volume.case, _number(content, "revision"), change, _client(content))
        return self.summary(volume) | {"patches": dict(record.patches)}

    def undo(self, key: str, content: Mapping[str, Any]) -> Json:
        """Take back the last change of a volume."""
        volume = self.volume(key)
        record = self.store.undo(volume.case, _number(content, "revision"), _client(content))
        return self.summary(volume) | {"patches": dict(record.patches)}

    def preview(self, content: Mapping[str, Any]) -> Json:
        """Splits under some settings, those in use by default.

        Raises:
            ValueError: the settings cannot be used.
        """
        settings = SplitSettings(**content) if content else self.writer.settings()
        patients, home = self.writer.assignment(settings)
        done = {volume.case for volume, _ in self.writer.done()}
        rows: dict[str, Json] = {}
        for case, patient in patients.items():
            row = rows.setdefault(patient, {"patient": patient, "split": home[patient], "volumes": 0, "tagged": 0})
            row["volumes"] += 1
            row["tagged"] += case in done
            row.setdefault("example", case)
        return {"settings": settings.as_json(), "own": self.writer.is_own, "patients": list(rows.values())}

    def choose(self, content: Mapping[str, Any]) -> Json:
        """Draw the splits with other settings and write ``dataset.json``."""
        if not self.writer.is_own:
            raise ValueError("dataset.json: expected one of camtools tag, found the user's own, whose splits stay.")
        self.writer.choose(SplitSettings(**content))
        return self.preview({})

    def corners(self, volume: TagVolume) -> Corners:
        """First pixel ``(x, y)`` of the patches of a slice, as in :class:`camtools.data.PatchTagger`."""
        assert self.options.grid is not None
        with self._corners_lock:
            if volume.id not in self._corners:
                rows, columns = self.pixels(volume.id).planes[0].size
                self._corners[volume.id] = self.options.grid.corners(columns, rows)
            return self._corners[volume.id]

    def _read(self, key: str) -> Pixels:
        volume = self.folder.volumes[key]
        try:
            pixels = read_pixels(volume.path, self.folder.slice_axis, self.options.pixel_size)
        except Exception as error:
            volume.problem = reason(error)
            raise DataError(volume.problem) from error
        if pixels.planes[0].count != volume.slices:
            volume.problem = f"Expected {volume.slices} slices in {volume.path}, found {pixels.planes[0].count}."
            raise DataError(volume.problem)
        return pixels

    def _is_untagged(self, volume: TagVolume) -> bool:
        return not volume.problem and self.store.record(volume.case).status == ""

    def _check_whole(self, volume: TagVolume, change: Mapping[str, Any], patches: int) -> None:
        """A table of patches has a row for each."""
        if change.get("status") != "done" or not patches:
            return
        known = self.store.record(volume.case).patches
        missing = volume.slices * patches - len(known)
        if missing:
            raise ValueError(f"Expected a class for every patch, found {missing} without one. Tag them first.")


def _plane_json(plane: Plane) -> Json:
    return {
        "name": plane.name,
        "count": plane.count,
        "axes": [plane.axis, plane.vertical, plane.horizontal],
        "flips": [plane.flip_vertical, plane.flip_horizontal],
        "size": list(plane.size),
        "spacing": list(plane.spacing),
        "distance": plane.distance,
        "letters": list(plane.letters),
    }


def _dictionary(content: Mapping[str, Any], key: str) -> Json:
    value = content.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"{key}: expected an object, found {value!r}.")
    return value


def _number(content: Mapping[str, Any], key: str) -> int:
    value = content.get(key)
    if type(value) is not int:
        raise ValueError(f"{key}: expected a whole number, found {value!r}.")
    return value


def _client(content: Mapping[str, Any]) -> str:
    value = content.get("client", "")
    if not isinstance(value, str) or len(value) > 64:
        raise ValueError(f"client: expected a short text, found {str(value)[:80]!r}.")
    return value
