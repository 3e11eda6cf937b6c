"""Values of knobs, written into the configuration files of a bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from camtools.data.files import atomic_path

__all__ = ["set_knobs"]


def set_knobs(configs: str | Path, knobs: Mapping[str, Any], names: Sequence[str]) -> set[str]:
    r"""Write ``knobs`` into those of the files ``names`` that have them, each in its line at the top level.

    Comments and order stay as they are. A knob that a file does not have is passed over.

    Args:
        configs: folder ``configs`` of a bundle.
        knobs: new values by name.
        names: files, such as ``["train.yaml", "inference.yaml"]``.

    Returns:
        Names of the knobs that some file has.

    Example:
        >>> import tempfile; file = Path(tempfile.mkdtemp()) / "inference.yaml"
        >>> _ = file.write_text("width: 0.25 # of the classifier\n")
        >>> set_knobs(file.parent, {"width": 1, "other": 2}, ["inference.yaml"])
        {'width'}
        >>> file.read_text()
        'width: 1 # of the classifier\n'
    """
    found: set[str] = set()
    for path in (path for name in names if (path := Path(configs) / name).is_file()):
        text = path.read_text(encoding="utf-8")
        for knob, value in knobs.items():
            line = rf'(?m)^{re.escape(knob)}: (?:"[^"\n]*"|[^#"\n])*?(?= *(?:#|$))'
            written = f"{knob}: {json.dumps(value)}".replace("\\", r"\\")
            text, count = re.subn(line, written, text)
            found |= {knob} if count else set()
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return found
