"""Classes of voxels from logits: camtools.transforms.finish."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import AsDiscreted

from camtools.transforms import FinishPredictiond, LargestLogitd, PrepareVolumed
from camtools.transforms.finish import largest_logit
from tests.conftest import oblique_affine


@pytest.mark.parametrize("classes", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(7, 6, 5), (4,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_equals_argmax_also_where_logits_are_equal(classes: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = torch.randint(-2, 3, (classes, *shape)).to(dtype)
    logits[..., 0] = float("-inf")
    found = largest_logit(logits)
    assert found.dtype == dtype
    assert torch.equal(found, logits.argmax(dim=0, keepdim=True).to(dtype))


def test_any_layout_and_logits_left_alone() -> None:
    logits = torch.randn(3, 4, 5, 6).permute(0, 3, 1, 2)
    before = logits.clone()
    assert torch.equal(largest_logit(logits).long(), logits.argmax(dim=0, keepdim=True))
    assert torch.equal(logits, before)


@pytest.mark.parametrize("classes", [2, 3])
def test_transform_is_monais_arg_max(classes: int) -> None:
    torch.manual_seed(0)
    logits = MetaTensor(torch.randn(classes, 5, 4, 3), affine=oblique_affine(), meta={"name": "a"})
    logits.push_applied_operation({"class": "Turned"})
    found = LargestLogitd("pred")({"pred": logits})["pred"]
    expected = AsDiscreted("pred", argmax=True)({"pred": logits})["pred"]
    assert isinstance(found, MetaTensor)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape) == (torch.float32, (1, 5, 4, 3))
    assert torch.equal(found.as_tensor(), expected.as_tensor())
    assert torch.equal(found.affine, expected.affine)
    assert (found.meta["name"], found.applied_operations) == ("a", logits.applied_operations)
    plain = LargestLogitd(["pred", "other"], allow_missing_keys=True)({"pred": logits.as_tensor()})["pred"]
    assert type(plain) is torch.Tensor
    assert torch.equal(plain, expected.as_tensor())
    array = LargestLogitd("pred")({"pred": logits.numpy()})["pred"]
    np.testing.assert_array_equal(array, expected.numpy())


def test_the_steps_can_be_told_apart() -> None:
    steps = FinishPredictiond(PrepareVolumed(), largest_component=True).transforms
    names = [type(step).__name__ for step in steps]
    assert names == ["Invertd", "LargestLogitd", "KeepLargestConnectedComponentd", "CastToTyped"]


def test_other_classes_than_the_largest_logit() -> None:
    steps = FinishPredictiond(PrepareVolumed(), to_classes=AsDiscreted("pred", threshold=0.2)).transforms
    assert [type(step).__name__ for step in steps] == ["Invertd", "AsDiscreted", "CastToTyped"]
