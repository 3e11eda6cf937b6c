from __future__ import annotations

import numpy as np
import pytest
import torch

from camtools.cams import truncate_gradients
from camtools.cams.truncation import _truncated_by_sorting
from tests.reference.gradient_maps import reference_truncate

PERCENTILES = [0, 0.5, 20, 37.5, 50, 90, 99.9, 100]
EITHER = pytest.mark.parametrize("truncate", [truncate_gradients, _truncated_by_sorting])  # by selection on the CPU


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("percentile", PERCENTILES)
@pytest.mark.parametrize("shape", [(3, 5, 6, 7), (2, 3, 4, 5, 6), (2, 2, 1)])
@EITHER
def test_matches_reference(truncate, percentile, shape, dtype):
    gradients = torch.randn(shape).to(dtype)
    expected = torch.stack([reference_truncate(gradient, percentile) for gradient in gradients])
    torch.testing.assert_close(truncate(gradients, percentile), expected, rtol=0, atol=0)
    ties = gradients.mul(3).round()  # many equal values, many zeros
    expected = torch.stack([reference_truncate(gradient, percentile) for gradient in ties])
    torch.testing.assert_close(truncate(ties, percentile), expected, rtol=0, atol=0)


@pytest.mark.parametrize("percentile", PERCENTILES)
@pytest.mark.parametrize("count", [1, 2, 3, 41, 100])
@EITHER
def test_smallest_kept_gradient_is_at_the_percentile_of_numpy(truncate, percentile, count):
    positive = torch.rand(count).double() + 0.1
    kept = truncate(torch.cat([positive, -positive])[None, None], percentile)[0, 0]
    threshold = np.percentile(positive.numpy(), percentile)
    torch.testing.assert_close(kept[:count], torch.where(positive >= threshold, positive, 0))
    assert not kept[count:].any()
    assert kept.any()


@EITHER
def test_by_hand(truncate):
    gradients = torch.tensor([[[1.0, 3.0, -8.0], [2.0, 2.0, 2.0], [-1.0, 0.0, -2.0]]])
    zero, twos = [0.0, 0.0, 0.0], [2.0, 2.0, 2.0]
    for percentile, first in ((0, [1.0, 3.0, 0.0]), (1, [0.0, 3.0, 0.0]), (100, [0.0, 3.0, 0.0])):
        torch.testing.assert_close(truncate(gradients, percentile), torch.tensor([[first, twos, zero]]))


@EITHER
def test_percentile_zero_keeps_every_positive_gradient(truncate):
    gradients = torch.randn(2, 3, 8, 9)
    torch.testing.assert_close(truncate(gradients, 0), gradients.relu(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("percentile", PERCENTILES)
@EITHER
def test_in_half_precision_keeps_what_double_precision_keeps(truncate, dtype, percentile):
    gradients = torch.randn(2, 3, 30, 31).to(dtype)
    kept = truncate(gradients, percentile)
    assert kept.dtype == dtype
    torch.testing.assert_close(kept.double(), truncate(gradients.double(), percentile), rtol=0, atol=0)


@EITHER
def test_counts_exactly_in_large_maps(truncate):
    gradients = torch.arange(1.0, 300_001.0)[None, None]  # percentile 99 is 1 + 299999 * 0.99 = 297000.01
    kept = truncate(gradients, 99)
    assert kept[kept > 0].min() == 297_001


@EITHER
def test_accepts_any_memory_format_and_leaves_its_input(truncate):
    gradients = torch.randn(2, 3, 4, 5)
    before = gradients.clone()
    expected = truncate(gradients, 20)
    last = gradients.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(truncate(last, 20), expected)
    torch.testing.assert_close(truncate(gradients.mT, 20), expected.mT)
    torch.testing.assert_close(gradients, before, rtol=0, atol=0)
    assert truncate(gradients[:0], 20).shape == (0, 3, 4, 5)


@EITHER
def test_nan_is_not_hidden(truncate):
    gradients = torch.tensor([[[1.0, torch.nan, 3.0], [1.0, 2.0, 3.0]]])
    kept = truncate(gradients, 20)
    assert kept[0, 0].tolist()[::2] == [0.0, 3.0]
    assert kept[0, 0, 1].isnan()
    torch.testing.assert_close(kept[0, 1], torch.tensor([0.0, 2.0, 3.0]))


def test_wrong_arguments():
    for wrong in (-1, 100.5, float("nan")):
        with pytest.raises(ValueError, match=rf"expected a percentile in 0..100, found {wrong}; 20 keeps 80 %"):
            truncate_gradients(torch.zeros(1, 1, 2), wrong)
    with pytest.raises(ValueError, match=r"expected gradients \(B, K, \*spatial\), found \(2, 3\)"):
        truncate_gradients(torch.zeros(2, 3), 20)
