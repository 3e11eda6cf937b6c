from __future__ import annotations

import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from camtools.data.files import atomic_path, atomic_save, file_hash, input_hash_of, save_like, write_json
from tests.conftest import oblique_affine, write_volume


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyError("killed")

    with pytest.raises(KeyError, match="killed"):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_writers(tmp_path: Path) -> None:
    atomic_save({"w": torch.ones(2)}, tmp_path / "new/model.pt")
    assert torch.equal(torch.load(tmp_path / "new/model.pt", weights_only=True)["w"], torch.ones(2))
    write_json({"a": Path("b")}, tmp_path / "c.json")
    assert (tmp_path / "c.json").read_text() == '{\n  "a": "b"\n}\n'


def test_file_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 1_000_000)
    assert file_hash(tmp_path / "a") == hashlib.sha256(b"abc" * 1_000_000).hexdigest()


def test_output_takes_over_the_geometry_of_its_input(tmp_path: Path) -> None:
    reference = Path(write_volume(tmp_path / "in.nii.gz", np.zeros((3, 4, 5), np.int16)))
    image = nib.load(reference)
    image.header.set_qform(image.affine, code=2)
    image.header.set_sform(image.affine, code=3)
    nib.save(image, reference)
    mask = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    save_like(mask, np.eye(4), reference, tmp_path / "out.nii.gz")
    output = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(output.dataobj), mask)
    np.testing.assert_allclose(output.affine, oblique_affine(), atol=1e-5)
    assert output.get_data_dtype() == np.uint8
    assert output.header.get_xyzt_units() == ("mm", "sec")
    assert (int(output.header["qform_code"]), int(output.header["sform_code"])) == (2, 3)
    assert input_hash_of(tmp_path / "out.nii.gz") == file_hash(reference)[:32]
    assert input_hash_of(reference) is None
    assert input_hash_of(tmp_path / "gone.nii.gz") is None


def test_output_of_an_image_of_several_channels_is_one_volume(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((5, 4, 3, 2), np.int16), np.diag([1.0, 2.0, 3.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "in.nii.gz")
    mask = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
    save_like(mask, np.eye(4), tmp_path / "in.nii.gz", tmp_path / "out.nii.gz")
    written = nib.load(tmp_path / "out.nii.gz")
    assert written.shape == (5, 4, 3)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), mask)
    np.testing.assert_array_equal(written.affine, image.affine)


def test_scaled_integers_of_the_input_do_not_scale_the_output(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "in.nii")
    save_like(np.full((2, 2, 2), 0.25, np.float32), np.eye(4), tmp_path / "in.nii", tmp_path / "out.nii")
    np.testing.assert_array_equal(nib.load(tmp_path / "out.nii").get_fdata(), 0.25)


def test_other_formats_get_the_affine(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 3), np.uint8)).save(tmp_path / "in.png")
    save_like(np.ones((3, 4, 1), np.uint8), np.diag([2.0, 2.0, 1.0, 1.0]), tmp_path / "in.png", tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(nib.load(tmp_path / "out.nii.gz").affine, np.diag([2.0, 2.0, 1.0, 1.0]))


def test_wrong_shape_is_refused(tmp_path: Path) -> None:
    reference = write_volume(tmp_path / "in.nii.gz", np.zeros((3, 4, 5), np.int16))
    with pytest.raises(ValueError, match=r"Expected an array of shape \(3, 4, 5\), found \(5, 4, 3\) for"):
        save_like(np.zeros((5, 4, 3), np.uint8), np.eye(4), reference, tmp_path / "out.nii.gz")
