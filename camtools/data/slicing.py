"""Stacking direction of the slices of a dataset, decided once for all its volumes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from camtools.data.case_names import case_name
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
        clear: plane -> names of the cases with a clear spacing (slices 1.5 times as far apart as pixels).
        unclear: plane -> number of the remaining cases for which this plane is the most likely one.
        decision: value for ``slice_axis``. ``"auto:axial"`` means axial slices for unclear volumes, while clear volumes
            keep their own direction. None if there is nothing to decide (only 2D images).
    """

    clear: dict[str, tuple[str, ...]]
    unclear: dict[str, int]

    @property
    def decision(self) -> str | None:
        """The plane of most clear volumes, or of most volumes if none is clear. Ties go to axial, then coronal."""
        counts = {plane: len(cases) for plane, cases in self.clear.items()} or self.unclear
        if not counts:
            return None
        return AUTO + max(counts, key=lambda plane: (counts[plane], PLANES.index(plane)))

    @property
    def other(self) -> tuple[str, ...]:
        """Names of the cases with a clear direction that differs from the decision."""
        names: list[str] = []
        for plane, cases in self.clear.items():
            if AUTO + plane != self.decision:
                names += sorted(cases)
        return tuple(names)


def plane_of(affine: Any, shape: tuple[int, ...], slice_axis: SliceAxis = None) -> str:
    """Anatomical plane of the slices of a volume: ``axial``, ``coronal`` or ``sagittal``.

    Example:
        >>> import numpy as np
        >>> plane_of(np.diag([1.0, 6.5, 1.0, 1.0]), (9, 9, 9))
        'coronal'
    """
    return PLANES[anatomical_axes(affine)[resolve_slice_axis(affine, shape, slice_axis)]]


def count_stacks(items: Iterable[dict[str, Any]]) -> StackVotes:
    """Read the headers of all volumes and count the directions. Files that cannot be read are not counted."""
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

    The slice distance of scanners differs. In a cohort of axial CTs, volumes with slices of 5 mm have their largest
    spacing along the body, and volumes with slices of 0.5 mm have it across the body. Therefore the volumes with a
    clear spacing decide for the unclear ones. A volume that is clearly stacked in another direction (a coronal series
    among axial ones) keeps its own direction, with a warning. Only headers are read.

    Args:
        items: all volumes of the dataset, not a share of them.
        slice_axis: the setting. If it is not None, it is returned.

    Returns:
        A value for the parameter ``slice_axis`` of everything in camtools, such as ``"auto:axial"``.

    Raises:
        ValueError: ``slice_axis`` is not valid (``camtools.data.geometry.check_slice_axis``).

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
            f"slice axis: {len(votes.other)} volumes are clearly not stacked as "
            f"{str(votes.decision).removeprefix(AUTO)} slices and keep their own direction: {listed}. "
            "Give --slice_axis axial, coronal or sagittal to use one direction for all volumes.",
        )
    return votes.decision


def _summary(votes: StackVotes) -> str:
    clear = ", ".join(f"{len(cases)} {plane}" for plane, cases in sorted(votes.clear.items())) or "none"
    unclear = sum(votes.unclear.values())
    return (
        f"slice axis: {unclear} volumes without a clear direction get {str(votes.decision).removeprefix(AUTO)} slices. "
        f"Clear by their spacing: {clear}. Give --slice_axis to choose another direction."
    )


def _stamp(path: Any) -> tuple[int, int]:
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@cache
def _said_by(path: str, size: int, changed: int) -> tuple[str, bool] | None:
    """Plane that a header indicates, and whether it is clear. None for 2D images and for files that cannot be read."""
    found = header_geometry(path)
    if found is None or len(found[1]) < 3 or 1 in found[1]:
        return None
    affine, shape = found
    return PLANES[anatomical_axes(affine)[stacking_axis(affine, shape)]], is_clear_stack(affine, shape)


@cache
def _say(level: int, message: str) -> None:
    """Log a message once per process, since several steps of a run need the same decision."""
    logger.log(level, message)
