from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from camtools.data import DataError, SliceCache
from camtools.data.slice_cache import prepared_slices
from camtools.transforms import PrepareVolumed, ScaleSlicesd
from tests.conftest import blob_volume, write_volume


def prepare(pixel_size: float | None = None) -> PrepareVolumed:
    return PrepareVolumed(pixel_size=pixel_size, intensity=ScaleSlicesd("image"))


def write_files(folder: Path, seed: int = 0) -> dict[str, str]:
    image, mask = blob_volume(seed)
    cam = (mask * 0.75).astype(np.float32)
    return {
        "image": write_volume(folder / f"{seed}.nii.gz", image),
        "cam": write_volume(folder / f"{seed}_cam.nii.gz", cam),
    }


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return write_files(tmp_path)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("[!.]*.npy")}


def test_slices_equal_those_in_memory(files: dict[str, str], tmp_path: Path) -> None:
    cache = SliceCache(tmp_path / "cache")
    expected = prepared_slices(files, prepare())
    for _ in range(2):
        found = cache.slices(files, prepare())
        assert set(found) == {"image", "cam"}
        for key, slices in expected.items():
            assert torch.equal(found[key].all(), slices)
    assert len(names(cache.folder)) == 2


def test_a_volume_is_read_once(files: dict[str, str], tmp_path: Path) -> None:
    calls: list[dict[str, str]] = []
    inner = prepare()

    class Counted(PrepareVolumed):
        def __call__(self, data: dict[str, str]) -> dict[str, torch.Tensor]:
            calls.append(dict(data))
            return inner(data)

    for _ in range(3):
        SliceCache(tmp_path / "cache").slices({"image": files["image"]}, Counted())
    assert len(calls) == 1
    SliceCache(tmp_path / "cache").slices(files, Counted())  # the image stays, the map is new
    SliceCache(tmp_path / "cache").slices(files, Counted())
    assert len(calls) == 2
    assert len(names(tmp_path / "cache")) == 2


def test_changed_content_and_settings_never_meet_an_old_file(files: dict[str, str], tmp_path: Path) -> None:
    cache = SliceCache(tmp_path / "cache")
    before = cache.slices(files, prepare())
    coarse = cache.slices(files, prepare(2.0))
    assert coarse["image"].shape != before["image"].shape
    status = os.stat(files["image"])
    write_volume(Path(files["image"]), blob_volume(7)[0])
    os.utime(files["image"], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = cache.slices(files, prepare())
    assert torch.equal(after["image"].all(), prepared_slices(files, prepare())["image"])
    assert not torch.equal(after["image"].all(), before["image"].all())
    assert after["cam"].path != before["cam"].path  # it lies on the voxels of the image


def test_copies_of_a_file_share_their_slices(files: dict[str, str], tmp_path: Path) -> None:
    copy = tmp_path / "copy.nii.gz"
    copy.write_bytes(Path(files["image"]).read_bytes())
    cache = SliceCache(tmp_path / "cache")
    first = cache.slices({"image": files["image"]}, prepare())
    assert cache.slices({"image": str(copy)}, prepare())["image"].path == first["image"].path


def test_damaged_and_removed_files_are_prepared_again(
    files: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = SliceCache(tmp_path / "cache")
    path = cache.slices(files, prepare())["image"].path
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    assert cache.slices(files, prepare())["image"].path.read_bytes() == whole
    assert f"{path} is damaged (" in caplog.text
    path.unlink()
    assert cache.slices(files, prepare())["image"].path.read_bytes() == whole


def test_unused_files_make_room_the_longest_unused_first(tmp_path: Path) -> None:
    volumes = [write_files(tmp_path, seed) for seed in range(4)]
    one = {"image": volumes[0]["image"]}
    folder = tmp_path / "cache"
    size = SliceCache(folder).slices(one, prepare())["image"].path.stat().st_blocks * 512
    old = SliceCache(folder).slices({"image": volumes[1]["image"]}, prepare())["image"].path
    oldest = SliceCache(folder).slices(one, prepare())["image"].path
    for path, age in ((old, 100), (oldest, 200)):
        os.utime(path, (time.time() - age,) * 2)
    cache = SliceCache(folder, limit=2.5 * size / 1e9)
    kept = [cache.slices({"image": volume["image"]}, prepare())["image"].path for volume in volumes[2:]]
    assert names(folder) == {path.name for path in kept}
    assert cache.size() <= 2.5 * size
    with pytest.raises(DataError, match=r"Expected the prepared slices to fit into .* GB \(cache_limit\), found .* GB"):
        cache.slices(one, prepare())
    assert names(folder) == {path.name for path in kept}


@pytest.mark.parametrize("limit", [0, -1.0, float("nan")])
def test_limit_is_checked(limit: float) -> None:
    with pytest.raises(ValueError, match="Expected cache_limit to be positive, in GB, found"):
        SliceCache("cache", limit)


def test_missing_volume_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Expected an image at .*gone\.nii\.gz, found no such file"):
        SliceCache(tmp_path / "cache").slices({"image": str(tmp_path / "gone.nii.gz")}, prepare())


KILLED = """
import os, signal, sys
from pathlib import Path
import camtools.data.stored_slices as stored
from camtools.data import SliceCache
from camtools.transforms import PrepareVolumed, ScaleSlicesd

def kill(handle, header):
    handle.write(b"half a header")
    handle.flush()
    os.kill(os.getpid(), signal.SIGKILL)

stored.npy_format.write_array_header_1_0 = kill
SliceCache(sys.argv[2]).slices({"image": sys.argv[1]}, PrepareVolumed(intensity=ScaleSlicesd("image")))
"""


def test_killed_while_writing_leaves_nothing_that_is_read(files: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    run = subprocess.run([sys.executable, "-c", KILLED, files["image"], str(folder)], capture_output=True, check=False)
    assert run.returncode == -signal.SIGKILL
    assert names(folder) == set()
    assert len(list(folder.iterdir())) == 1
    cache = SliceCache(folder)
    cache.remove_unfinished()
    assert list(folder.iterdir()) == []
    found = cache.slices({"image": files["image"]}, prepare())["image"].all()
    assert torch.equal(found, prepared_slices({"image": files["image"]}, prepare())["image"])
