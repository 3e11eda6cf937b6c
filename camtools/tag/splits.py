"""Splits by patient: the patient is found in the name of the case by a pattern, and drawn once."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from camtools.data.dataset_json import SPLIT_NAMES
from camtools.data.files import write_json
from camtools.engine.records import read_json_object

__all__ = ["SplitSettings", "default_pattern", "draw", "read_settings", "write_settings"]

logger = logging.getLogger("camtools")

MOST_PATTERN = 200


@dataclass(frozen=True)
class SplitSettings:
    """How volumes are split.

    Attributes:
        patient: regular expression that finds the patient in the name of a case: its first group, else all it matches.
        validation: share of the patients for validation.
        test: share of the patients for the test.
        seed: of the draw.
        drawn: split by patient, of patients that were drawn before; they keep their split when volumes are added.
    """

    patient: str
    validation: float = 0.2
    test: float = 0.0
    seed: int = 0
    drawn: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("validation", "test"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
                raise ValueError(f"{name}: expected a share from 0 to below 1, found {value!r}.")
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation and test: expected less than 1 together, found {self.validation + self.test}."
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed: expected a whole number from 0, found {self.seed!r}.")
        if not isinstance(self.patient, str) or len(self.patient) > MOST_PATTERN:
            raise ValueError(f"patient: expected a pattern of at most {MOST_PATTERN} characters.")
        try:
            re.compile(self.patient)
        except re.error as error:
            raise ValueError(f"patient: expected a regular expression, found {self.patient!r} ({error}).") from None

    def as_json(self) -> dict[str, Any]:
        """The settings without what was drawn."""
        return {name: getattr(self, name) for name in ("patient", "validation", "test", "seed")}


def default_pattern(cases: Sequence[str]) -> str:
    """The first folder of a case, where folders differ, else its file name: a patient for each volume.

    Example:
        >>> default_pattern(["p1/t2", "p2/t2"]), default_pattern(["images/a", "images/b"])
        ('^[^/]+', '[^/]+$')
    """
    return "^[^/]+" if len({case.split("/")[0] for case in cases}) > 1 else "[^/]+$"


def draw(patients: Sequence[str], settings: SplitSettings) -> dict[str, str]:
    """Split of every patient: as drawn before, else at random, the same for the same patients and settings.

    With a share above 0, validation gets one of two patients at least, and test one of three.

    Example:
        >>> split = draw(list("abcde"), SplitSettings("", validation=0.2, test=0.2))
        >>> sorted(split.values())
        ['test', 'training', 'training', 'training', 'validation']
    """
    names = sorted(set(patients))
    count = len(names)
    wanted = {"validation": _quota(count, settings.validation, 2), "test": _quota(count, settings.test, 3)}
    wanted["training"] = count - wanted["validation"] - wanted["test"]
    home = {name: settings.drawn[name] for name in names if name in settings.drawn}
    sizes = Counter(home.values())
    new = [name for name in names if name not in home]
    for index in np.random.default_rng(settings.seed).permutation(len(new)):
        split = max(SPLIT_NAMES, key=lambda name: wanted[name] - sizes[name])
        home[new[index]] = split
        sizes[split] += 1
    return home


def _quota(count: int, share: float, least: int) -> int:
    if share == 0 or count < least:
        return 0
    return max(1, round(count * share))


def read_settings(path: Path, cases: Sequence[str]) -> SplitSettings:
    """The settings that were saved, else those by default."""
    found, _ = read_json_object(path)
    if found is not None:
        try:
            known = {key: found[key] for key in ("patient", "validation", "test", "seed", "drawn") if key in found}
            drawn = {str(name): split for name, split in known.get("drawn", {}).items() if split in SPLIT_NAMES}
            return SplitSettings(**(known | {"drawn": drawn}))
        except (ValueError, TypeError, AttributeError):
            logger.warning("%s is damaged: the splits are drawn with the settings by default", path)
    return SplitSettings(default_pattern(cases))


def write_settings(settings: SplitSettings, path: Path) -> None:
    """Save settings, atomically."""
    write_json(settings.as_json() | {"drawn": dict(settings.drawn)}, path)
