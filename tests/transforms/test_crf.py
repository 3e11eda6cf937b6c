from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from camtools.crf import DenseCRF
from camtools.data.geometry import volume_to_slices
from camtools.transforms import DenseCRFd
from tests.conftest import oblique_affine
from tests.crf_slices import structured_slices


def volume(slices: torch.Tensor, scale: float = 1.0) -> MetaTensor:
    affine = torch.from_numpy(oblique_affine((0.8 * scale, 0.8 * scale, 5.0), (-1, -1, 1)))
    return MetaTensor(
        slices.movedim(0, -1).contiguous(), affine=affine, meta={"filename_or_obj": f"case{scale}.nii.gz"}
    )


@pytest.mark.parametrize("shape", [(3, 1, 12, 17), (1, 3, 14, 9)])
def test_volume_is_refined_slice_by_slice(shape):
    images, maps = structured_slices(shape)
    data = {"image": volume(images), "cam": volume(maps, scale=2.0), "name": "kept"}
    crf = DenseCRF(backend="torch", bilateral_srgb=20)
    result = DenseCRFd(crf=crf)(data)
    mask = result["mask"]
    assert isinstance(mask, MetaTensor)
    assert (mask.shape, mask.dtype) == (data["cam"].shape, torch.float32)
    assert torch.equal(mask.affine, data["cam"].affine)
    assert mask.meta["filename_or_obj"] == "case2.0.nii.gz"
    expected = crf(images, maps)[:, 1:]
    torch.testing.assert_close(volume_to_slices(mask.as_tensor()), expected)
    assert result["name"] == "kept"
    assert "mask" not in data
    torch.testing.assert_close(data["cam"].as_tensor(), volume(maps).as_tensor())


def test_keys_and_default_crf_can_be_named():
    images, maps = structured_slices((2, 1, 10, 11))
    maps[1] = 0.0
    transform = DenseCRFd("t2", "fused", "refined", crf=DenseCRF(backend="torch"))
    result = transform({"t2": volume(images), "fused": volume(maps)})
    assert result["refined"][..., 0].max() > 0.5
    assert result["refined"][..., 1].max() == 0
    assert DenseCRFd().crf == DenseCRF()


def test_map_of_another_size_is_refused():
    images, maps = structured_slices((2, 1, 10, 11))
    with pytest.raises(
        ValueError, match=r"expected probability of shape \(2, 1, 10, 11\) to match images, found \(2, 1, 9"
    ):
        DenseCRFd(crf=DenseCRF(backend="torch"))({"image": volume(images), "cam": volume(maps[:, :, 1:])})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_of_the_map_wins():
    images, maps = structured_slices((2, 1, 10, 11))
    assert DenseCRFd()({"image": volume(images), "cam": volume(maps).cuda()})["mask"].is_cuda
