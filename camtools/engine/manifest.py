"""Record of a run: ``manifest.json``, with a record of each stage."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from camtools import __version__
from camtools.data.case_names import case_name
from camtools.data.files import file_hash, write_json
from camtools.data.tag_source import TagSource
from camtools.engine.records import Record, as_record, read_json_object, records_below

__all__ = ["Manifest", "digest", "digest_unread"]

logger = logging.getLogger("camtools")

PACKAGES = ("torch", "torchvision", "monai", "pytorch-ignite", "numpy", "nibabel", "numba")
FILE_KEYS = ("image", "label")
TAG_KEYS = ("slice_labels", "patch_labels")


def digest(content: Any) -> str:
    """SHA-256 of ``content`` as canonical JSON.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def digest_unread(items: Iterable[Any]) -> str:
    """Digest of the cases, tags, file sizes and modification times of volume items or files. No file is read.

    An equal digest means that nothing changed. If it differs, :class:`camtools.engine.VolumePipeline` compares the
    content of each volume.
    """
    return digest([_unread(item) for item in items])


def _unread(item: Any) -> Any:
    if isinstance(item, Mapping):
        stamps = {key: _item_stamp(item[key]) for key in FILE_KEYS if item.get(key)}
        if "tag_source" in item:
            stamps["label"] = item["tag_source"].stamp()
        return stamps | {"case": case_name(dict(item))} | {key: item.get(key) for key in TAG_KEYS}
    return _stamp(item)


def _item_stamp(path: str | Path) -> tuple[int, int] | None:
    """As :func:`_stamp`, but None for a broken link. Only the volume of the broken link fails, when it is processed."""
    return None if os.path.islink(path) and not os.path.exists(path) else _stamp(path)


def _stamp(path: str | Path) -> tuple[int, int]:
    """Size and modification time of a file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"Expected the file {path}, found none. Run the step that writes it, or give another.")
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns


def _as_known_file(content: Any) -> Any:
    """``content`` if it holds size, modification time and hash of a file, else None."""
    return content if isinstance(content, dict) and {"size", "mtime_ns", "sha256"} <= set(content) else None


class Manifest:
    """``output_dir/manifest.json``: versions, configuration, input hashes, and the outputs of each stage.

    A damaged manifest is rebuilt from the records of the stages, with a warning.

    Args:
        output_dir: folder of the run.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.output_dir = Path(output_dir)
        self.path = self.output_dir / "manifest.json"
        self.content: dict[str, Any] = {"stages": {}, "files": {}}
        found, why = read_json_object(self.path)
        if found is not None:
            self.content |= found
            why = self._drop_unusable()
        if why:
            logger.warning("%s is damaged (%s). It is rebuilt from the records of the stages.", self.path, why)
            recovered = {str(record["name"]): (folder, record) for folder, record in records_below(self.output_dir)}
            for name, (folder, record) in recovered.items():
                self.content["stages"].setdefault(name, record | {"folder": str(folder)})

    def _drop_unusable(self) -> str:
        """Remove content that camtools did not write, and return a description of it."""
        unusable = []
        for part, check in (("stages", as_record), ("files", _as_known_file)):
            found = self.content[part]
            kept = {}
            if isinstance(found, dict):
                kept = {name: value for name, value in found.items() if check(value) is not None}
            if kept != found:
                unusable.append(f"{part!r} is not what camtools writes there")
            self.content[part] = kept
        return ", ".join(unusable)

    def describe(self, config: Mapping[str, Any]) -> None:
        """Record the configuration, its seed and method, and the versions of the packages."""
        self.content |= {
            "camtools": __version__,
            "output_dir": str(self.output_dir.resolve()),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in PACKAGES},
            "method": config.get("method"),
            "seed": config.get("seed"),
            "config": {name: value for name, value in config.items() if name != "_meta_"},
        }

    def stage(self, name: str) -> tuple[Path, Record] | None:
        """Folder and record of a finished stage, or None if it is not finished.

        The folder is also found after the folder of the run was moved or renamed.
        """
        record = self.content["stages"].get(name)
        if record is None or record["status"] != "done":
            return None
        folder, before = Path(str(record.get("folder", self.output_dir))), self.content.get("output_dir")
        if isinstance(before, str) and folder.resolve().is_relative_to(before):
            folder = self.output_dir / folder.resolve().relative_to(before)
        return folder, record

    def hash_inputs(self, inputs: Iterable[Any]) -> str:
        """Hash of volume items (dictionaries whose ``image`` and ``label`` are files) and of plain paths.

        A file is read again only if its size or modification time has changed.
        """
        return digest([self._hash_input(entry) for entry in inputs])

    def _hash_input(self, entry: Any) -> Any:
        if isinstance(entry, Mapping):
            files = {key: self._hash_file(entry[key]) for key in FILE_KEYS if entry.get(key)}
            if "tag_source" in entry:
                files["label"] = self._hash_tag_source(entry["tag_source"])
            return files | {key: entry.get(key) for key in ("case", *TAG_KEYS)}
        return self._hash_file(entry)

    def _hash_file(self, path: str | Path) -> str:
        name = str(Path(path).resolve())
        return self._hash_changed(name, _stamp(name), lambda: file_hash(name))

    def _hash_tag_source(self, source: TagSource) -> str:
        name = f"mask of {Path(source.image).resolve()}"
        return self._hash_changed(name, source.stamp(), source.sha256)

    def _hash_changed(self, name: str, stamp: tuple[int, int], read: Callable[[], str]) -> str:
        """Hash of a file, which is read again only if its size or modification time has changed."""
        size, changed = stamp
        known = self.content["files"].get(name)
        if known is None or known["size"] != size or known["mtime_ns"] != changed:
            known = {"size": size, "mtime_ns": changed, "sha256": read()}
            self.content["files"][name] = known
        return str(known["sha256"])

    def save(self) -> None:
        """Write the manifest, atomically."""
        write_json(self.content, self.path)
