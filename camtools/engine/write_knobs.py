"""Write values of knobs into the configuration files of a bundle."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from camtools.data.files import atomic_path

__all__ = ["write_knobs"]


def write_knobs(configs: str | Path, knobs: Mapping[str, Any], names: Sequence[str]) -> set[str]:
    r"""Replace the values of ``knobs`` in the files ``names``, each in the files that have it.

    The rest of a file, comments included, stays as it is, byte for byte. A knob is a key at the top level with a
    value on its line: a number, a text, ``[...]`` or ``{...}``. A file without a knob is left as it is.

    Args:
        configs: folder ``configs`` of a bundle.
        knobs: new values by name.
        names: files, such as ``["train.yaml", "inference.yaml"]``.

    Returns:
        Names of the knobs that at least one file has.

    Example:
        >>> import tempfile; file = Path(tempfile.mkdtemp()) / "inference.yaml"
        >>> _ = file.write_text("width: 0.25 # of the classifier\n")
        >>> write_knobs(file.parent, {"width": 1, "other": 2}, ["inference.yaml"])
        {'width'}
        >>> file.read_text()
        'width: 1 # of the classifier\n'
    """
    found: set[str] = set()
    for name in names:
        path = Path(configs) / name
        if path.is_file():
            found |= _write(path, knobs)
    return found


def _write(path: Path, knobs: Mapping[str, Any]) -> set[str]:
    text = path.read_text(encoding="utf-8")
    places = _places(text)
    known = set(places) & set(knobs)
    # from the end of the file, so that the places before stay valid
    for knob in sorted(known, key=lambda name: places[name], reverse=True):
        start, end = places[knob]
        text = f"{text[:start]}: {_as_yaml(knobs[knob])}{text[end:]}"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return known


def _places(text: str) -> dict[str, tuple[int, int]]:
    """Where the colon of each knob starts and where its value ends."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return {}
    places = {}
    for key, value in root.value:
        if isinstance(value, yaml.ScalarNode) or value.flow_style:
            places[key.value] = (key.end_mark.index, value.end_mark.index)
    return places


def _as_yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, default_style=_style(value), width=sys.maxsize)
    return text.removesuffix("\n").removesuffix("\n...")


def _style(value: Any) -> str | None:
    """Quotes for text, in which a line break is then written as an escape."""
    return '"' if isinstance(value, str) else None
