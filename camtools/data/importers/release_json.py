"""The ``dataset.json`` of nnU-Net and of the Medical Segmentation Decathlon: channels and classes by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camtools.data.errors import DataError
from camtools.data.importers.labelled import Objects

__all__ = ["Release", "choose_channels", "choose_classes", "read_release"]


@dataclass(frozen=True)
class Release:
    """What the file says.

    Attributes:
        path: the file.
        name: name of the dataset.
        channels: number of the channel, from 0, -> name.
        classes: name of the class -> its values in the labels, without background and ``ignore``.
        ignored: value of nnU-Net's ``ignore``; None where there is none.
        content: the whole content.
    """

    path: Path
    name: str
    channels: Mapping[int, str]
    classes: Mapping[str, tuple[int, ...]]
    ignored: int | None
    content: Mapping[str, Any]


def read_release(source: Path) -> Release:
    """Read ``dataset.json`` of a release.

    Raises:
        DataError: no such file, no JSON, or no usable ``channel_names`` (or ``modality``) and ``labels``.
    """
    path = source / "dataset.json"
    if not path.is_file():
        raise DataError(
            f"Expected dataset.json in {source}, found none. Give the folder of one dataset, such as "
            "Dataset004_Hippocampus."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"Expected JSON, found something else in {path} ({error}). Copy the file again.") from error
    if not isinstance(content, dict):
        raise DataError(f"Expected a JSON object, found a {type(content).__name__} in {path}. Copy the file again.")
    classes = _classes(path, content)
    ignored = classes.pop("ignore", None)
    return Release(
        path=path,
        name=str(content.get("name") or source.resolve().name),
        channels=_channels(path, content),
        classes={name: tuple(value for value in values if value) for name, values in classes.items() if any(values)},
        ignored=None if ignored is None else ignored[0],
        content=content,
    )


def choose_channels(release: Release, wanted: str | None) -> tuple[int, ...]:
    """Numbers of channels in the order wanted: names or numbers (``1`` or ``0001``), separated by commas, or ``all``.

    Raises:
        ValueError: the release has several channels and none is chosen; a name is unknown or of several channels; or a
            channel is chosen twice.
    """
    listed = ", ".join(f"{name} ({number:04d})" for number, name in sorted(release.channels.items()))
    if wanted is None and len(release.channels) == 1:
        return tuple(release.channels)
    if wanted is None:
        raise ValueError(
            f"Expected a channel, as the images have {len(release.channels)}, found none. Choose one or several with "
            f"--channel, such as --channel {min(release.channels):04d} or --channel all: {listed}."
        )
    if wanted.strip().casefold() == "all":
        return tuple(sorted(release.channels))
    parts = [wanted] if wanted in release.channels.values() else wanted.split(",")
    numbers = [_channel(release, part.strip(), listed) for part in parts]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"Expected every channel once, found {wanted!r}. Name each one once: {listed}.")
    return tuple(numbers)


def _channel(release: Release, wanted: str, listed: str) -> int:
    found = [number for number, name in release.channels.items() if name.casefold() == wanted.casefold()]
    if not found and wanted.isdecimal() and int(wanted) in release.channels:
        return int(wanted)
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"Expected the name of one channel, found {wanted!r} for {len(found)}. Give its number: {listed}."
        )
    raise ValueError(f"Expected one of the channels {listed}, found {wanted!r}. Choose from them.")


def choose_classes(release: Release, wanted: str | None) -> Objects:
    """The object: some classes of a release by their names or values, separated by commas, or all of them.

    Raises:
        ValueError: an unknown class.
    """
    known = frozenset(value for values in release.classes.values() for value in values)
    with_background = known | {0}
    if wanted is None:
        name = "object"
        if len(release.classes) == 1:
            name = next(iter(release.classes))
        return Objects(name, known, with_background, release.ignored)
    by_name = {name.casefold(): name for name in release.classes}
    chosen: set[int] = set()
    names = []
    for part in wanted.split(","):
        key = part.strip()
        if key.casefold() in by_name:
            names.append(by_name[key.casefold()])
            chosen.update(release.classes[names[-1]])
        elif key.isdecimal() and int(key) in known:
            names.append(key)
            chosen.add(int(key))
        else:
            listed = ", ".join(f"{name} ({_numbers(values)})" for name, values in release.classes.items())
            raise ValueError(f"Expected classes out of {listed}, found {key!r}. Choose from them.")
    return Objects(" and ".join(names), frozenset(chosen), with_background, release.ignored)


def _channels(path: Path, content: Mapping[str, Any]) -> dict[int, str]:
    given = content.get("channel_names", content.get("modality"))
    if not isinstance(given, dict) or not given or not all(str(key).isdecimal() for key in given):
        raise DataError(
            f'Expected "channel_names" or "modality" with a name for each number, such as {{"0": "CT"}}, found '
            f"{given!r} in {path}. Correct the file."
        )
    return {int(key): str(name) for key, name in given.items()}


def _classes(path: Path, content: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Values by name: nnU-Net v2 writes ``{name: value or values}``, the others ``{value: name}``."""
    given = content.get("labels")
    classes: dict[str, tuple[int, ...]] = {}
    for key, value in (given if isinstance(given, dict) else {}).items():
        if isinstance(value, str):
            key, value = value, key
        numbers = value if isinstance(value, list) else [value]
        if not all(str(number).isdecimal() for number in numbers):
            classes = {}
            break
        classes[key] = (*classes.get(key, ()), *map(int, numbers))
    if not any(any(values) for values in classes.values()):
        raise DataError(
            f'Expected "labels" with the classes, such as {{"background": 0, "tumour": 1}} or {{"1": "tumour"}}, found '
            f"{given!r} in {path}. Correct the file."
        )
    return classes


def _numbers(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))
