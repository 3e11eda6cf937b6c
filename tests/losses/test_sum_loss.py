from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from monai.losses import DiceLoss

from camtools.losses import OEEMLoss, SumLoss

DICE = DiceLoss(softmax=True, to_onehot_y=True, ignore_index=255, batch=True)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.randint(2, (3, 1, 6, 5), dtype=torch.uint8)
    labels[0, 0, :2] = 255
    return torch.randn(3, 2, 6, 5, requires_grad=True), labels


def test_value_and_gradient_of_a_sum() -> None:
    logits, labels = batch()
    found = SumLoss([(OEEMLoss(), 0.7), (DICE, 2.0)])(logits, labels)
    expected = 0.7 * OEEMLoss()(logits, labels) + 2 * DICE(logits, labels)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1])
    assert (gradients[0][0, :, :2] == 0).all()
    assert (gradients[0][0, :, 2:] != 0).all()


def test_sum_in_yaml() -> None:
    config = {
        "loss": {
            "_target_": "camtools.losses.SumLoss",
            "terms": [
                [{"_target_": "camtools.losses.OEEMLoss", "weighting": "none"}, 1.0],
                [{"_target_": "DiceLoss", "softmax": True, "to_onehot_y": True, "ignore_index": 255}, 0.5],
            ],
        }
    }
    loss = ConfigParser(config).get_parsed_content("loss")
    logits, labels = batch()
    dice = DiceLoss(softmax=True, to_onehot_y=True, ignore_index=255)
    torch.testing.assert_close(loss(logits, labels), OEEMLoss("none")(logits, labels) + 0.5 * dice(logits, labels))


def test_functions_are_losses_too() -> None:
    logits, labels = batch()
    loss = SumLoss([(lambda logits, labels: logits.sum() * 0 + labels.max(), 2.0)])
    assert loss(logits, labels) == 510


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([], r"Expected one or more pairs of a loss and a factor, found none. Give"),
        ([(1.0, OEEMLoss())], r"Expected pairs of a loss and a factor, found \(1.0, OEEMLoss.*Write \[\{_target_"),
        ([(OEEMLoss(), 1.0, 2.0)], r"Expected pairs of a loss and a factor, found .*Write \[\{_target_"),
        ([(OEEMLoss(), -0.5)], r"Expected factors of at least 0, found -0.5. Correct"),
    ],
)
def test_wrong_terms(terms: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SumLoss(terms)
