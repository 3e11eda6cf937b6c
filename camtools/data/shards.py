"""Shards of a cohort, for the independent jobs of an array."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from camtools.data.case_names import case_name

__all__ = ["shard_folder", "shard_items"]


def shard_items(items: list[dict[str, Any]], shard: str | None) -> list[dict[str, Any]]:
    """The volumes of one shard.

    The shard of a volume depends on the name of its case alone: every volume is in exactly one of N shards, and a
    volume that is added later moves no other. So the sizes of the shards are similar, but not equal.

    Args:
        items: volume items.
        shard: ``"3/64"`` for the third of 64 shards; None for all volumes.

    Raises:
        ValueError: ``shard`` is not one of ``1/N`` to ``N/N``.

    Example:
        >>> items = [{"image": name} for name in ("a.nii", "b.nii", "c.nii")]
        >>> [[item["image"] for item in shard_items(items, shard)] for shard in ("1/2", "2/2")]
        [['c.nii'], ['a.nii', 'b.nii']]
    """
    if shard is None:
        return items
    number, count = _parse(shard)
    return [item for item in items if _place(case_name(item), count) == number]


def shard_folder(output_dir: str | Path, shard: str | None) -> str:
    """Folder of one shard; ``output_dir`` itself where there are no shards.

    Raises:
        ValueError: as for :func:`shard_items`.

    Example:
        >>> shard_folder("out", "3/64"), shard_folder("out", None)
        ('out/shard-03-of-64', 'out')
    """
    if shard is None:
        return str(output_dir)
    number, count = _parse(shard)
    return str(Path(output_dir) / f"shard-{number:0{len(str(count))}}-of-{count}")


def _parse(shard: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", str(shard))
    number = count = 0
    if match:
        number, count = int(match[1]), int(match[2])
    if not 1 <= number <= count:
        raise ValueError(f"Expected a shard from 1/N to N/N, such as 3/64 for the third of 64, found {shard!r}.")
    return number, count


def _place(name: str, count: int) -> int:
    """Number from 1 to ``count`` for a name, the same on every machine."""
    return int(hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest(), 16) % count + 1
