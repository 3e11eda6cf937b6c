"""Splits by patient: all cases of a patient are in the same split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from camtools.data.dividing import SPLIT_NAMES, check_fractions, check_seed
from camtools.data.errors import DataError

__all__ = [
    "Split",
    "check_held_out",
    "check_split",
    "held_out_patients",
    "patients_by_pattern",
    "split_beside_test",
    "split_by_patient",
    "split_patients",
]

_LISTED = 5


@dataclass(frozen=True)
class Split:
    """Where every case goes.

    Attributes:
        of_case: name of the case -> split.
        choices: settings of the split, stored in ``dataset.json`` to distinguish one import from another.
    """

    of_case: Mapping[str, str]
    choices: Mapping[str, Any]


def patients_by_pattern(names: Mapping[str, str], pattern: str | None) -> dict[str, str]:
    """Patient of every case: what a regular expression finds in its name.

    Args:
        names: case -> the text that is searched.
        pattern: regular expression. The patient is its first group, or all that it matches where it has none. None:
            every case is a patient of its own.

    Raises:
        DataError: the pattern finds nothing in a name.
        ValueError: the pattern is no regular expression.

    Example:
        >>> patients_by_pattern({"p1_a": "p1_a", "p1_b": "p1_b"}, r"(p[0-9]+)_")
        {'p1_a': 'p1', 'p1_b': 'p1'}
    """
    if pattern is None:
        return {case: case for case in names}
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"Expected a regular expression for the patient, found {pattern!r} ({error}). Correct it."
        ) from error
    found = {}
    for case, name in names.items():
        match = compiled.search(name)
        groups = ("",) if match is None else (match[0], *match.groups())
        found[case] = (groups[1] if len(groups) > 1 else groups[0]) or ""
    missing = sorted(names[case] for case, patient in found.items() if not patient)
    if missing:
        raise DataError(
            f"Expected a patient in every name by the pattern {pattern!r}, found none in {len(missing)} of "
            f"{len(names)}: {', '.join(missing[:_LISTED])}. Correct the pattern."
        )
    return found


def check_split(split: tuple[float, float, float], seed: int) -> None:
    """Check the fractions and the seed of a split.

    Raises:
        ValueError: not three positive fractions with sum 1, or a seed that is not an integer >= 0.

    Example:
        >>> check_split((0.8, 0.1, 0.1), seed=0)
    """
    check_fractions(split)
    check_seed(seed)


def split_by_patient(patients: Mapping[str, str], split: tuple[float, float, float], seed: int) -> Split:
    """Split by fractions of the patients, see :func:`split_patients`.

    Args:
        patients: name of the case -> patient.
        split: fractions of the patients for training, validation and test.
        seed: integer >= 0.

    Raises:
        DataError: fewer than three patients.
        ValueError: see :func:`check_split`.

    Example:
        >>> split = split_by_patient({"a1": "a", "a2": "a", "b1": "b", "c1": "c"}, (0.8, 0.1, 0.1), seed=0)
        >>> split.of_case["a1"] == split.of_case["a2"], split.choices
        (True, {'split': [0.8, 0.1, 0.1], 'seed': 0})
    """
    home = split_patients(patients.values(), split, seed)
    return Split({case: home[patient] for case, patient in patients.items()}, {"split": list(split), "seed": int(seed)})


def split_beside_test(
    patients: Mapping[str, str], test: Collection[str], split: tuple[float, float, float], seed: int
) -> Split:
    """Keep the test cases that a release has, and split the others by patient.

    Without test cases this is :func:`split_by_patient`. Otherwise validation and training share the other cases, in the
    ratio of their fractions.

    Args:
        patients: name of the case -> patient, of all cases.
        test: names of the test cases of the release, which may be none.
        split: fractions of the patients for training, validation and test.
        seed: integer >= 0.

    Raises:
        DataError: fewer than three patients, or fewer than two beside the test cases.
        ValueError: see :func:`check_split`.

    Example:
        >>> split = split_beside_test({"a": "a", "b": "b", "c": "c"}, {"c"}, (0.8, 0.1, 0.1), seed=0)
        >>> split.of_case["c"], sorted(split.of_case.values())
        ('test', ['test', 'training', 'validation'])
    """
    if not test:
        return split_by_patient(patients, split, seed)
    check_split(split, seed)
    others = {case: patient for case, patient in patients.items() if case not in test}
    held_out = held_out_patients(others.values(), split[1] / (split[0] + split[1]), seed)
    homes = dict.fromkeys(patients, "test")
    for case, patient in others.items():
        homes[case] = "validation" if patient in held_out else "training"
    return Split(homes, {"split": list(split), "seed": int(seed), "test": "of the release"})


def split_patients(patients: Iterable[str], split: tuple[float, float, float], seed: int) -> dict[str, str]:
    """Assign every patient to a split at random. Same patients, fractions and seed, same result.

    Args:
        patients: names of patients; repeats and order do not matter.
        split: fractions of the patients for training, validation and test. Each split gets at least one patient.
        seed: integer >= 0.

    Returns:
        Split by patient.

    Raises:
        DataError: fewer than three patients.
        ValueError: see :func:`check_split`.

    Example:
        >>> splits = split_patients(["a", "b", "c", "a"], (0.8, 0.1, 0.1), seed=0)
        >>> sorted(splits), sorted(splits.values())
        (['a', 'b', 'c'], ['test', 'training', 'validation'])
    """
    check_split(split, seed)
    names = sorted(set(patients))
    count = len(names)
    if count < 3:
        raise DataError(
            f"Expected at least 3 patients, one for each split, found {count}: {', '.join(names)}. "
            "Give the folder of the whole release."
        )
    training = min(max(round(count * split[0]), 1), count - 2)
    test = min(max(round(count * split[2]), 1), count - training - 1)
    sizes = (training, count - training - test, test)
    order = np.random.default_rng(seed).permutation(count)
    return {names[index]: name for index, name in zip(order, np.repeat(SPLIT_NAMES, sizes).tolist(), strict=True)}


def check_held_out(fraction: float, seed: int) -> None:
    """Check the validation fraction and the seed of a split.

    Raises:
        ValueError: a fraction that is not between 0 and 1, or a seed that is not an integer >= 0.

    Example:
        >>> check_held_out(0.2, seed=0)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"Expected a validation fraction between 0 and 1, found {fraction}. Choose another fraction.")
    check_seed(seed)


def held_out_patients(patients: Iterable[str], fraction: float, seed: int) -> set[str]:
    """Patients to hold out for validation, with as close to the given fraction of the cases as whole patients allow.

    Patients are drawn at random. The same cases, fraction and seed give the same patients. At least one patient is held
    out, and at least one is not.

    Args:
        patients: the patient of every case. Repeats count; the order does not matter.
        fraction: share of the cases to hold out, between 0 and 1.
        seed: integer >= 0.

    Raises:
        DataError: fewer than two patients.
        ValueError: see :func:`check_held_out`.

    Example:
        >>> held_out_patients(["a", "a", "a", "b", "b", "c"], 0.5, seed=0) in ({"a"}, {"b", "c"})
        True
    """
    check_held_out(fraction, seed)
    cases = Counter(patients)
    names = sorted(cases)
    if len(names) < 2:
        raise DataError(
            f"Expected at least 2 patients, for training and validation, found {len(names)}: {', '.join(names)}. "
            "Give the folder of the whole release."
        )
    # For every number of cases that some set of patients has, the first such set found.
    reachable: dict[int, tuple[str, ...]] = {0: ()}
    for index in np.random.default_rng(seed).permutation(len(names)):
        name = names[index]
        for total, chosen in list(reachable.items()):
            reachable.setdefault(total + cases[name], (*chosen, name))
    wanted = fraction * cases.total()
    best = min(reachable.keys() - {0, cases.total()}, key=lambda total: (abs(total - wanted), total))
    return set(reachable[best])
