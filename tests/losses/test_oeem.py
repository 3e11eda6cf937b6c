from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from camtools.losses import OEEMLoss
from tests.reference.losses import reference_oeem

WEIGHTINGS = ["loss_norm", "confidence", "confidence_difference", "loss_confidence", "none"]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def sample(*spatial: int, classes: int = 3, batch: int = 3) -> tuple[Tensor, Tensor]:
    logits = 3 * torch.randn(batch, classes, *spatial, dtype=torch.float64)
    labels = torch.randint(classes, (batch, 1, *spatial))
    labels[torch.rand(labels.shape) < 0.2] = 255
    labels[-1] = 1  # one class in the last image
    return logits, labels


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("spatial", [(5, 7), (3, 4, 2)])
def test_matches_reference(weighting, spatial):
    logits, labels = sample(*spatial)
    loss = OEEMLoss(weighting)(logits, labels)
    assert float(loss) == pytest.approx(reference_oeem(logits.flatten(2), labels.flatten(1), weighting))
    assert torch.equal(OEEMLoss(weighting)(logits, labels[:, 0]), loss)


def test_normalized_loss_by_hand():
    """Probabilities 3/4 and 1/4 of the own class: losses log 4/3 and log 4, weights 3/2 and 1/2."""
    logits = torch.tensor([[[3.0, 3.0]], [[1.0, 1.0]]]).log()[None]
    labels = torch.tensor([[[[0, 1]]]])
    expected = (1.5 * torch.tensor(4 / 3).log() + 0.5 * torch.tensor(4.0).log()) / 2
    torch.testing.assert_close(OEEMLoss()(logits, labels), expected)


def test_weights_carry_no_gradient():
    logits, labels = sample(4, 5)
    logits.requires_grad_()
    OEEMLoss()(logits, labels).backward()
    losses = F.cross_entropy(logits, labels[:, 0], ignore_index=255, reduction="none").flatten(1)
    valid = (labels != 255).flatten(1)
    weights = (-losses.detach()).masked_fill(~valid, -torch.inf).softmax(dim=1) * valid.sum(dim=1, keepdim=True)
    weights[-1] = 1
    (expected,) = torch.autograd.grad((weights * losses).sum() / valid.sum(), logits)
    torch.testing.assert_close(logits.grad, expected)


def test_ignored_pixels_get_no_gradient_and_change_nothing():
    logits, labels = sample(4, 5)
    logits.requires_grad_()
    OEEMLoss()(logits, labels).backward()
    ignored = (labels == 255).expand_as(logits)
    assert ignored.any()
    assert not logits.grad[ignored].any()
    changed = torch.where(ignored, 50.0, logits.detach())
    torch.testing.assert_close(OEEMLoss()(changed, labels), OEEMLoss()(logits.detach(), labels))


@pytest.mark.parametrize("weighting", [*WEIGHTINGS, "ohem"])
def test_all_pixels_ignored(weighting):
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = OEEMLoss(weighting)(logits, torch.full((2, 1, 4, 4), 255))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_one_class_is_plain_cross_entropy(weighting):
    logits = torch.randn(2, 3, 4, 4)
    labels = torch.tensor([0, 2]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    torch.testing.assert_close(OEEMLoss(weighting)(logits, labels), F.cross_entropy(logits, labels[:, 0]))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(weighting, dtype):
    logits = (60 * torch.randn(1, 2, 256, 256)).to(dtype)
    labels = torch.randint(2, (1, 1, 256, 256))
    loss = OEEMLoss(weighting)(logits, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, OEEMLoss(weighting)(logits.float(), labels))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(OEEMLoss(weighting)(logits.float(), labels), loss)
    assert loss.isfinite()


def test_hard_pixels_are_those_below_the_threshold_and_at_least_a_number():
    probability = torch.tensor([0.9, 0.8, 0.75, 0.6, 0.3])
    logits = torch.stack([probability, 1 - probability]).log()[None, :, None]
    labels = torch.zeros(1, 1, 1, 5, dtype=torch.long)
    losses = -probability.log()
    for kept, hard in ((1, [3, 4]), (2, [3, 4]), (3, [2, 3, 4]), (100, [0, 1, 2, 3, 4])):
        loss = OEEMLoss("ohem", ohem_threshold=0.7, ohem_kept=kept)(logits, labels)
        torch.testing.assert_close(loss, losses[hard].mean())
    labels[..., 4] = 255
    loss = OEEMLoss("ohem", ohem_threshold=0.7, ohem_kept=1)(logits, labels)
    torch.testing.assert_close(loss, losses[3])


def test_images_do_not_weigh_each_other():
    logits, labels = sample(4, 5)
    singles = [OEEMLoss()(logits[b : b + 1], labels[b : b + 1]) * (labels[b] != 255).sum() for b in range(3)]
    torch.testing.assert_close(OEEMLoss()(logits, labels), sum(singles) / (labels != 255).sum())


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ((2, 3, 4, 4), (2, 1, 4, 5), r"found \(2, 3, 4, 4\) and \(2, 1, 4, 5\)"),
        ((2, 3), (2,), r"expected logits \(B, K, \*spatial\)"),
        ((2, 3, 4, 4), (2, 2, 4, 4), r"labels \(B, 1, \*spatial\) or \(B, \*spatial\)"),
    ],
)
def test_shapes_are_checked(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        OEEMLoss()(torch.zeros(logits), torch.zeros(labels, dtype=torch.long))


def test_labels_are_checked():
    logits = torch.zeros(1, 2, 2, 2)
    with pytest.raises(ValueError, match=r"integer classes, found torch.float32; cast them"):
        OEEMLoss()(logits, torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match=r"expected labels from 0 to 1, or 255 for pixels to ignore, found 2"):
        OEEMLoss()(logits, torch.full((1, 1, 2, 2), 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weighting": "easy"}, r"expected weighting to be one of loss_norm, .*, none, found 'easy'"),
        ({"ohem_threshold": 0.0}, r"found ohem_threshold=0.0 and ohem_kept=100000"),
        ({"ohem_kept": 0}, r"ohem_kept of at least 1, found ohem_threshold=0.7 and ohem_kept=0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        OEEMLoss(**options)
