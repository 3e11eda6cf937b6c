"""What a run did: ``manifest.json`` and the record of each stage."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from camtools import __version__
from camtools.data.case_names import case_name
from camtools.data.files import file_hash, write_json

__all__ = ["Manifest", "digest", "digest_unread"]

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
    """Digest of the cases, tags, sizes and times of change of volume items, or of files, without reading any.

    It tells that nothing changed. When it differs, what changed is found by content, volume by volume
    (:class:`camtools.engine.VolumePipeline`).
    """
    return digest([_unread(item) for item in items])


def _unread(item: Any) -> Any:
    if isinstance(item, Mapping):
        stamps = {key: _item_stamp(item[key]) for key in FILE_KEYS if item.get(key)}
        return stamps | {"case": case_name(dict(item))} | {key: item.get(key) for key in TAG_KEYS}
    return _stamp(item)


def _item_stamp(path: str | Path) -> tuple[int, int] | None:
    """As :func:`_stamp`; None for a broken link, which fails alone when its turn comes."""
    return None if os.path.islink(path) and not os.path.exists(path) else _stamp(path)


def _stamp(path: str | Path) -> tuple[int, int]:
    """Size and time of change of a file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"Expected the file {path}, found none. Run the step that writes it, or name another.")
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns


class Manifest:
    """``output_dir/manifest.json``: versions, configuration, input hashes, and what each stage wrote.

    Args:
        output_dir: folder of the run.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.path = Path(output_dir) / "manifest.json"
        self.content: dict[str, Any] = {"stages": {}, "files": {}}
        if self.path.is_file():
            self.content |= json.loads(self.path.read_text(encoding="utf-8"))

    def describe(self, config: Mapping[str, Any]) -> None:
        """Record the configuration, its seed and method, and the versions of what runs it."""
        self.content |= {
            "camtools": __version__,
            "python": platform.python_version(),
            "versions": {name: version(name) for name in PACKAGES},
            "method": config.get("method"),
            "seed": config.get("seed"),
            "config": {name: value for name, value in config.items() if name != "_meta_"},
        }

    def hash_inputs(self, inputs: Iterable[Any]) -> str:
        """Hash of items (dictionaries whose ``image`` and ``label`` are files) and of plain paths.

        A file is read again only when its size or time of change differs from the last time.
        """
        return digest([self._hash_input(entry) for entry in inputs])

    def _hash_input(self, entry: Any) -> Any:
        if isinstance(entry, Mapping):
            files = {key: self._hash_file(entry[key]) for key in FILE_KEYS if entry.get(key)}
            return files | {key: entry.get(key) for key in ("case", *TAG_KEYS)}
        return self._hash_file(entry)

    def _hash_file(self, path: str | Path) -> str:
        name = str(Path(path).resolve())
        size, changed = _stamp(name)
        known = self.content["files"].get(name)
        if known is None or known["size"] != size or known["mtime_ns"] != changed:
            known = {"size": size, "mtime_ns": changed, "sha256": file_hash(name)}
            self.content["files"][name] = known
        return str(known["sha256"])

    def save(self) -> None:
        """Write the manifest, atomically."""
        write_json(self.content, self.path)
