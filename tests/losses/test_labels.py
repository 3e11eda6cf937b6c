from __future__ import annotations

import pytest
import torch

from camtools.losses.labels import class_shares

LOGITS = torch.zeros(2, 3, 4, 5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_hard_labels(dtype: torch.dtype) -> None:
    labels = torch.zeros(2, 1, 4, 5, dtype=dtype)
    labels[0, 0, 1, 2] = 2
    labels[1, 0, 3, 4] = 255
    shares, counts = class_shares(LOGITS, labels)
    assert shares[0, :, 1, 2].tolist() == [0, 0, 1]
    assert shares[1, :, 3, 4].tolist() == [0, 0, 0]
    assert shares.sum() == 2 * 4 * 5 - 1
    assert (~counts).nonzero().tolist() == [[1, 3, 4]]


def test_soft_labels_are_kept_in_float32() -> None:
    labels = torch.rand(2, 3, 4, 5).softmax(dim=1).half()
    shares, counts = class_shares(LOGITS.half(), labels)
    assert shares.dtype == torch.float32
    torch.testing.assert_close(shares, labels.float())
    assert counts.all()


@pytest.mark.parametrize(
    "labels",
    [torch.zeros(2, 1, 4, 5), torch.zeros(2, 2, 4, 5), torch.zeros(2, 4, 5).long(), torch.zeros(2, 3, 4, 5).long()],
    ids=["one float channel", "two float channels", "no channel", "three integer channels"],
)
def test_labels_of_another_form(labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"Expected integer labels .* found labels \(2, .*Cast hard labels"):
        class_shares(LOGITS, labels)


@pytest.mark.parametrize("label", [3, -1])
def test_label_that_is_no_class(label: int) -> None:
    labels = torch.full((2, 1, 4, 5), label)
    with pytest.raises(ValueError, match=rf"Expected labels from 0 to 2, or 255 .* found {label}. Correct"):
        class_shares(LOGITS, labels)
