"""Reading the records of stages. The files may be damaged, for example by a power cut or by manual edits."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Record", "as_record", "read_json_object", "read_record", "record_path", "records_below"]

logger = logging.getLogger("camtools")

Record = dict[str, Any]


def record_path(folder: Path, stage: str) -> Path:
    """File in the folder of a stage that records how its outputs were made."""
    return folder / f"stage-{stage}.json"


def read_json_object(path: Path) -> tuple[dict[str, Any] | None, str]:
    """A JSON object and an empty text, or None and the reason (an empty text if the file does not exist)."""
    if not path.is_file():
        return None, ""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        size = path.stat().st_size
        return None, f"{error}" if size else "it is empty"
    if not isinstance(content, dict):
        return None, f"expected a JSON object, found a {type(content).__name__}"
    return content, ""


def as_record(content: Any) -> Record | None:
    """``content`` if it is a valid record, else None.

    Example:
        >>> as_record({"fingerprint": "ab", "status": "running"})
        {'fingerprint': 'ab', 'status': 'running'}
        >>> as_record({"fingerprint": 3})
    """
    if not isinstance(content, dict) or not isinstance(content.get("fingerprint"), str):
        return None
    if content.get("status") == "running":
        return content
    outputs = content.get("outputs")
    if content.get("status") != "done" or not isinstance(outputs, dict):
        return None
    return content if all(isinstance(size, int) for size in outputs.values()) else None


def read_record(folder: Path, stage: str) -> Record | None:
    """The record of a stage, or None if it is absent or damaged. A warning names a damaged one."""
    path = record_path(folder, stage)
    content, why = read_json_object(path)
    record = as_record(content)
    if record is None and (content is not None or why):
        logger.warning("%s is damaged (%s).", path, why or "it lacks keys of a record")
    return record


def records_below(output_dir: Path) -> Iterator[tuple[Path, Record]]:
    """Folder and record of every stage in the folder of a run and in its sub-folders, except folders of other runs."""
    folders = [path for path in sorted(output_dir.glob("*/")) if ".old-" not in path.name]
    for folder in [output_dir, *(path for path in folders if not (path / "manifest.json").is_file())]:
        for path in sorted(folder.glob("stage-*.json")):
            record = read_record(folder, path.name.removeprefix("stage-").removesuffix(".json"))
            if record is not None and record.get("name"):
                yield folder, record
