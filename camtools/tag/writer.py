"""Keeps the results of a folder up to date: after every action, in a thread of its own."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from camtools.data.errors import DataError, reason
from camtools.data.files import atomic_path
from camtools.data.importers.patients import patients_by_pattern
from camtools.tag.imports import take_in_csv, take_in_given
from camtools.tag.listing import TagFolder, TagVolume, own_dataset
from camtools.tag.records import Record
from camtools.tag.results import (
    Corners,
    TableText,
    WrittenFiles,
    columns_of,
    dataset_content,
    json_text,
    merged_dataset,
    patch_rows,
    slice_rows,
)
from camtools.tag.splits import SplitSettings, draw, read_settings, write_settings
from camtools.tag.store import TagStore

__all__ = ["ResultWriter"]

logger = logging.getLogger("camtools")

PAUSE = 0.2  # s


class ResultWriter:
    """Writes ``tags.csv`` (or ``patches.csv``) and ``dataset.json``.

    Args:
        folder: the folder.
        store: its tags.
        labels: names of the classes, the background first.
        corners: for patches: first pixels of the patches of a volume; None for slices.
    """

    def __init__(
        self,
        folder: TagFolder,
        store: TagStore,
        labels: tuple[str, ...] = ("background", "object"),
        corners: Callable[[TagVolume], Corners] | None = None,
    ) -> None:
        self.folder = folder
        self.store = store
        self.labels = labels
        self.corners = corners
        self.table = "tags.csv" if corners is None else "patches.csv"
        self.problem = ""
        self._text = TableText(columns_of(corners is not None))
        self._files = WrittenFiles(folder.root, folder.state_dir / f"written_{Path(self.table).stem}.json")
        self._settings_path = folder.state_dir / "splits.json"
        self._wake = threading.Event()
        self._writing = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="results", daemon=True)

    @property
    def usable(self) -> list[TagVolume]:
        """Volumes that can be read, as far as is known."""
        return [volume for volume in self.folder.volumes.values() if not volume.problem]

    @property
    def is_own(self) -> bool:
        """Whether ``dataset.json`` is this command's, not the user's."""
        return own_dataset(self.folder.root / "dataset.json")

    def settings(self) -> SplitSettings:
        """How volumes are split."""
        return read_settings(self._settings_path, [volume.case for volume in self.folder.volumes.values()])

    def start(self) -> None:
        """Take in what others have written, and begin to write."""
        take_in_given(self.usable if self.corners is None else [], self.store)
        self.store.on_change = self._wake.set
        self._wake.set()
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and end."""
        self._ending.set()
        self._wake.set()
        self._thread.join()
        self.write()

    def choose(self, settings: SplitSettings) -> None:
        """Draw the splits again, with other settings.

        Raises:
            DataError: the pattern finds no patient in a name.
        """
        self.assignment(settings)
        write_settings(replace(settings, drawn={}), self._settings_path)
        self.write()

    def assignment(self, settings: SplitSettings) -> tuple[dict[str, str], dict[str, str]]:
        """Patient by case, and split by patient, of all volumes of the folder.

        Raises:
            DataError: the pattern finds no patient in a name.
        """
        cases = {volume.case: volume.case for volume in self.usable}
        patients = patients_by_pattern(cases, settings.patient)
        return patients, draw(list(patients.values()), settings)

    def done(self) -> list[tuple[TagVolume, Record]]:
        """Volumes whose tags are confirmed."""
        found = []
        for volume in self.folder.volumes.values():
            record = self.store.record(volume.case)
            if record.status == "done" and volume.slices:
                found.append((volume, record))
        return found

    def write(self) -> None:
        """Bring the files up to date; what prevents it is in :attr:`problem`."""
        try:
            with self._writing:
                with self.store.frozen():
                    foreign = self._files.is_foreign(self.table)
                if foreign:
                    self._take_in_table()
                with self.store.frozen():
                    done = self.done()
                    self._write_table(done)
                    self._write_dataset([volume for volume, _ in done])
            self.problem = ""
        except (OSError, ValueError, RuntimeError) as error:
            self.problem = f"{reason(error)} Tags are safe in {self.folder.state_dir.name} meanwhile."
            logger.warning("Results could not be written: %s", self.problem)

    def _work(self) -> None:
        while not self._ending.is_set():
            self._wake.wait()
            self._ending.wait(PAUSE)  # what comes in quick succession is written once
            self._wake.clear()
            self.write()

    def _take_in_table(self) -> None:
        """A table that another program changed holds tags, too."""
        path = self.folder.root / self.table
        if self.corners is not None:
            raise DataError(
                f"Expected {path} as camtools tag wrote it, found another one. Move it away, so that no tags are lost."
            )
        count = take_in_csv(path, self.folder.volumes.values(), self.store)
        logger.info("%s was changed by another program: tags of %d volumes taken in", path, count)

    def _write_table(self, done: list[tuple[TagVolume, Record]]) -> None:
        parts = [self._text.add(volume, record, partial(self._rows, volume, record)) for volume, record in done]
        if done or (self.folder.root / self.table).exists():
            self._files.write(self.table, self._text.whole(parts))

    def _rows(self, volume: TagVolume, record: Record) -> list[tuple[object, ...]]:
        if self.corners is None:
            return slice_rows(volume, record)
        return patch_rows(volume, record, self.corners(volume))

    def _write_dataset(self, done: list[TagVolume]) -> None:
        path = self.folder.root / "dataset.json"
        tags = {"slice_labels" if self.corners is None else "patch_labels": self.table}
        if not self.is_own:
            before = json.loads(path.read_bytes())
            self._keep_original(path)
            content = merged_dataset(before, {volume.image: volume for volume in done}, tags)
        elif done or path.exists():
            content = self._own_content(path, done, tags)
        else:
            return
        self._files.write("dataset.json", json_text(content))

    def _own_content(self, path: Path, done: list[TagVolume], tags: Mapping[str, str]) -> dict[str, Any]:
        settings = self.settings()
        patients, home = self.assignment(settings)
        if dict(settings.drawn) != home:
            write_settings(replace(settings, drawn=dict(settings.drawn) | home), self._settings_path)
        before = json.loads(path.read_bytes()) if path.exists() else {}
        return dataset_content(self.folder, done, home, patients, self.labels, tags, settings.as_json(), before)

    def _keep_original(self, path: Path) -> None:
        kept = self.folder.state_dir / "dataset.json.original"
        if not kept.exists():
            with atomic_path(kept) as temporary:
                temporary.write_bytes(path.read_bytes())
