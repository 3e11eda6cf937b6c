"""Shards: every volume in exactly one, whatever the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from camtools.data.shards import shard_folder, shard_items

ITEMS: list[dict[str, Any]] = [{"image": f"case_{number:03d}.nii.gz"} for number in range(400)]


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["image"] for item in items]


@pytest.mark.parametrize("count", [1, 3, 16])
def test_every_volume_is_in_exactly_one_shard(count: int) -> None:
    shares = [names(shard_items(ITEMS, f"{number}/{count}")) for number in range(1, count + 1)]
    assert sorted(name for share in shares for name in share) == names(ITEMS)
    assert max(map(len, shares)) < 400 / count + 5 * (400 / count) ** 0.5
    assert all(share == sorted(share) for share in shares)


def test_new_volume_moves_no_other() -> None:
    for number in (1, 2, 3):
        before, after = shard_items(ITEMS[10:], f"{number}/3"), shard_items(ITEMS, f"{number}/3")
        assert set(names(before)) <= set(names(after))


def test_case_decides_not_the_place_of_the_file() -> None:
    moved = [{"image": f"/elsewhere/{number}.nii", "case": f"case_{number:03d}"} for number in range(400)]
    assert len(shard_items(moved, "2/5")) == len(shard_items(ITEMS, "2/5"))
    assert [item["case"] + ".nii.gz" for item in shard_items(moved, "2/5")] == names(shard_items(ITEMS, "2/5"))


def test_no_shard_is_everything() -> None:
    assert shard_items(ITEMS, None) == ITEMS
    assert shard_folder(Path("out"), None) == "out"


def test_folders_sort_by_number() -> None:
    folders = [shard_folder("out", f"{number}/100") for number in range(1, 101)]
    assert folders[2] == "out/shard-003-of-100"
    assert folders == sorted(folders)


@pytest.mark.parametrize("shard", ["0/4", "5/4", "4", "1/0", "-1/4", "1/4 ", "", "a/b", "1/2/3", "1.0/2"])
def test_malformed_shards_are_refused(shard: str) -> None:
    for function in (lambda: shard_items(ITEMS, shard), lambda: shard_folder("out", shard)):
        with pytest.raises(ValueError, match="a shard from 1/N to N/N, such as 3/64 for the third of 64, found"):
            function()
