"""How the slices of a dataset are stacked: decided once for all of its volumes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from camtools.data.case_names import case_name
from camtools.data.errors import DataError
from camtools.data.geometry import (
    AUTO,
    PLANES,
    SliceAxis,
    anatomical_axes,
    check_slice_axis,
    is_clear_stack,
    resolve_slice_axis,
    stacking_axis,
)
from camtools.data.headers import header_geometry

__all__ = ["StackVotes", "count_stacks", "dataset_slice_axis", "plane_of"]

logger = logging.getLogger("camtools")

_LISTED = 5


@dataclass(frozen=True)
class StackVotes:
    """What the headers of a dataset say about the direction of its slices.

    Attributes:
        clear: plane -> names of the cases whose spacing says it clearly (slices 1.5 times as far apart as pixels).
        unclear: plane -> number of the other cases that look like it.
        decision: value for ``slice_axis``: ``"auto:axial"`` gives unclear volumes axial slices and leaves clear ones
            their own; None where there is nothing to decide (2D images alone).
    """

    clear: dict[str, tuple[str, ...]]
    unclear: dict[str, int]

    @property
    def decision(self) -> str | None:
        """The plane of most clear volumes, else that of most others; on a tie axial, then coronal."""
        counts = {plane: len(cases) for plane, cases in self.clear.items()} or self.unclear
        if not counts:
            return None
        return AUTO + max(counts, key=lambda plane: (counts[plane], PLANES.index(plane)))

    @property
    def other(self) -> tuple[str, ...]:
        """Names of the cases that clearly say something else than the decision."""
        return tuple(
            case for plane, cases in self.clear.items() if AUTO + plane != self.decision for case in sorted(cases)
        )


def plane_of(affine: Any, shape: tuple[int, ...], slice_axis: SliceAxis = None) -> str:
    """Anatomical plane of the slices of a volume, by its array axis: ``axial``, ``coronal`` or ``sagittal``.

    Example:
        >>> import numpy as np
        >>> plane_of(np.diag([1.0, 6.5, 1.0, 1.0]), (9, 9, 9))
        'coronal'
    """
    return PLANES[anatomical_axes(affine)[resolve_slice_axis(affine, shape, slice_axis)]]


def count_stacks(items: Iterable[dict[str, Any]]) -> StackVotes:
    """Read the headers of all volumes and count what their spacings say; files that cannot be read say nothing."""
    clear: dict[str, list[str]] = {}
    unclear: Counter[str] = Counter()
    for item in items:
        found = _said_by(str(item["image"]), *_stamp(item["image"]))
        if found is None:
            continue
        plane, is_clear = found
        if is_clear:
            clear.setdefault(plane, []).append(case_name(item))
        else:
            unclear[plane] += 1
    return StackVotes({plane: tuple(cases) for plane, cases in clear.items()}, dict(unclear))


def dataset_slice_axis(items: Iterable[dict[str, Any]], slice_axis: SliceAxis = None) -> SliceAxis:
    """Slice axis for all volumes of a dataset.

    Scanners differ in the distance of slices: in a cohort of axial CTs those with slices of 5 mm have their largest
    spacing along the body, those with slices of 0.5 mm across it. So the volumes whose spacing is clear decide for the
    others. A volume that is clearly stacked in another direction (a coronal series among axial ones) keeps its own; it
    is named in a warning. Headers alone are read.

    Args:
        items: all volumes of the dataset, not a share of them.
        slice_axis: the setting; where it is not None, it is the answer.

    Returns:
        A value for the parameter ``slice_axis`` of everything in camtools, such as ``"auto:axial"``.

    Raises:
        ValueError: ``slice_axis`` is none (``camtools.data.geometry.check_slice_axis``).

    Example:
        >>> dataset_slice_axis([], "axial")
        'axial'
    """
    if check_slice_axis(slice_axis) is not None:
        return slice_axis
    votes = count_stacks(items)
    if votes.decision is not None:
        _say(logging.INFO, _summary(votes))
    if votes.other:
        listed = ", ".join(votes.other[:_LISTED]) + (" and others" if len(votes.other) > _LISTED else "")
        _say(
            logging.WARNING,
            f"slice axis: {len(votes.other)} volumes are clearly stacked in another direction than "
            f"{str(votes.decision).removeprefix(AUTO)} and are cut along their own: {listed}. "
            "Give --slice_axis axial, coronal or sagittal to cut all volumes alike.",
        )
    return votes.decision


def _summary(votes: StackVotes) -> str:
    clear = ", ".join(f"{len(cases)} {plane}" for plane, cases in sorted(votes.clear.items())) or "none"
    unclear = sum(votes.unclear.values())
    return (
        f"slice axis: volumes without a clear direction are cut into {str(votes.decision).removeprefix(AUTO)} slices "
        f"({unclear} of them); clear by their spacing: {clear}. --slice_axis decides otherwise."
    )


def _stamp(path: Any) -> tuple[int, int]:
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@cache
def _said_by(path: str, size: int, changed: int) -> tuple[str, bool] | None:
    """Plane that a header says, and whether clearly; None for 2D images and for what cannot be read."""
    try:
        found = header_geometry(path)
    except DataError:
        return None
    if found is None or len(found[1]) < 3 or 1 in found[1]:
        return None
    affine, shape = found
    return PLANES[anatomical_axes(affine)[stacking_axis(affine, shape)]], is_clear_stack(affine, shape)


@cache
def _say(level: int, message: str) -> None:
    """A message of the log, once in a process: several steps of a run ask for the same decision."""
    logger.log(level, message)
