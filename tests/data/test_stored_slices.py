from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from camtools.data.stored_slices import StoredSlices, write_slices


@pytest.fixture
def slices() -> torch.Tensor:
    return torch.arange(5 * 2 * 6 * 7, dtype=torch.float32).reshape(5, 2, 6, 7)


def test_every_index_gives_what_the_tensor_gives(slices: torch.Tensor, tmp_path: Path) -> None:
    write_slices(slices, tmp_path / "a.npy")
    stored = StoredSlices(tmp_path / "a.npy")
    assert stored.shape == slices.shape
    assert len(stored) == 5
    assert torch.equal(stored.all(), slices)
    for k in (0, 4, -1):
        assert torch.equal(stored[k], slices[k])
    for rows, columns in ((slice(1, 4), slice(2, 5)), (slice(4, 9), slice(0, 99)), (slice(0, 6), slice(3, None))):
        assert torch.equal(stored[2, :, rows, columns], slices[2, :, rows, columns])
    with pytest.raises(IndexError, match="Expected a slice number below 5, found 5"):
        stored[5]


def test_numpy_reads_the_file(slices: torch.Tensor, tmp_path: Path) -> None:
    write_slices(slices, tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), slices.numpy())


def test_a_slice_is_a_new_tensor(slices: torch.Tensor, tmp_path: Path) -> None:
    write_slices(slices, tmp_path / "a.npy")
    stored = StoredSlices(tmp_path / "a.npy")
    stored[1].zero_()
    assert torch.equal(stored[1], slices[1])


def test_slices_of_zeros_are_holes(tmp_path: Path) -> None:
    slices = torch.zeros(64, 1, 128, 128)
    slices[63] = 1.0
    write_slices(slices, tmp_path / "a.npy")
    assert torch.equal(StoredSlices(tmp_path / "a.npy").all(), slices)
    status = (tmp_path / "a.npy").stat()
    assert status.st_blocks * 512 < status.st_size / 8


def test_incomplete_and_other_files_are_refused(slices: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write_slices(slices, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"Expected 1808 bytes of slices \(Z, C, X, Y\), found 1804 of shape .*a\.npy"):
        StoredSlices(path)
    np.save(path, np.zeros(3))
    with pytest.raises(ValueError, match=r"found 152 of shape \(3,\)"):
        StoredSlices(path)
    np.save(path, np.zeros((2, 1, 3, 3), order="F"))
    with pytest.raises(ValueError, match="Remove the file"):
        StoredSlices(path)
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match="magic"):
        StoredSlices(path)
    with path.open("wb") as handle:
        np.lib.format.write_array(handle, np.zeros((2, 1, 3, 3)), version=(2, 0))
    with pytest.raises(ValueError, match=r"Expected version 1.0 of the npy format, found \(2, 0\)"):
        StoredSlices(path)


def test_a_file_that_shrinks_or_vanishes_is_noticed(slices: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write_slices(slices, path)
    stored = StoredSlices(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(FileNotFoundError, match="became shorter while it was read"):
        stored[4]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        stored[0]
