"""What a run did: ``manifest.json`` and the record of each stage."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from camtools import __version__
from camtools.data.files import file_hash, write_json

__all__ = ["Manifest", "digest"]

PACKAGES = ("torch", "torchvision", "monai", "pytorch-ignite", "numpy", "nibabel", "numba")


def digest(content: Any) -> str:
    """SHA-256 of ``content`` as canonical JSON.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


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
            files = {key: self._hash_file(entry[key]) for key in ("image", "label") if entry.get(key)}
            return files | {key: entry.get(key) for key in ("case", "slice_labels", "patch_labels")}
        return self._hash_file(entry)

    def _hash_file(self, path: str | Path) -> str:
        name = str(Path(path).resolve())
        if not Path(name).is_file():
            raise FileNotFoundError(
                f"Expected the file {name}, found none. Run the step that writes it, or name another."
            )
        status = Path(name).stat()
        known = self.content["files"].get(name)
        if known is None or known["size"] != status.st_size or known["mtime_ns"] != status.st_mtime_ns:
            known = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": file_hash(name)}
            self.content["files"][name] = known
        return str(known["sha256"])

    def save(self) -> None:
        """Write the manifest, atomically."""
        write_json(self.content, self.path)
