from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from camtools.losses import AuxiliaryLoss, EachViewLoss, OEEMLoss, RandomViewConsensusLoss
from tests.reference.losses import reference_random_view_consensus


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    labels = torch.randint(2, (3, 1, 4, 5))
    labels[0, 0, 1] = 255
    return 2 * torch.randn(3, 2, 2, 4, 5), labels


@pytest.mark.parametrize("epoch", [0, 3, 10, 12])
def test_consensus_against_the_equation(epoch: int) -> None:
    logits, labels = batch()
    loss = RandomViewConsensusLoss(consistency=0.8, ramp_epochs=10)
    loss.set_epoch(epoch)
    weight = 0.8 * math.exp(-5 * (1 - min(epoch, 10) / 10) ** 2)
    flat = logits.flatten(3)
    expected = reference_random_view_consensus(flat[:, 0], flat[:, 1], labels.flatten(1), weight)
    assert loss.weight == pytest.approx(weight)
    assert float(loss(logits, labels)) == pytest.approx(expected, rel=1e-5)


def test_soft_labels_of_two_classes_equal_hard_ones() -> None:
    logits, labels = batch()
    labels = labels.clamp(max=1)
    soft = torch.cat([1 - labels, labels], dim=1).float()
    loss = RandomViewConsensusLoss(ramp_epochs=0)
    torch.testing.assert_close(loss(logits, soft), loss(logits, labels))


def test_batched_equals_single() -> None:
    logits, labels = batch()
    labels = labels.clamp(max=1)
    loss = RandomViewConsensusLoss(ramp_epochs=0)
    single = [loss(logits[b : b + 1], labels[b : b + 1]) for b in range(3)]
    torch.testing.assert_close(loss(logits, labels), torch.stack(single).mean())


def test_weights_carry_no_gradient() -> None:
    """At p = q the weights are 1, and moving the views apart must change only the cross-entropy."""
    logits, labels = batch()
    logits[:, 1] = logits[:, 0]
    logits.requires_grad_()
    found = torch.autograd.grad(RandomViewConsensusLoss(consistency=0.0)(logits, labels), logits)[0]
    expected = torch.autograd.grad(EachViewLoss(OEEMLoss("none"))(logits, labels), logits)[0]
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        logits[:, 0] += torch.tensor([3.0, -3.0])[None, :, None, None]
    p, q = logits.softmax(dim=2).detach().unbind(dim=1)
    weights = 1 - ((p - q) / 2)[:, 1] ** 2
    valid = labels != 255
    entropies = []
    for view in logits.unbind(dim=1):
        entropies.append(cross_entropy(view, labels[:, 0], ignore_index=255, reduction="none"))
    by_hand = (weights * sum(entropies)).sum() / 2 / valid.sum()
    loss = RandomViewConsensusLoss(consistency=0.0)(logits, labels)
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], torch.autograd.grad(by_hand, logits)[0])


def test_pixels_without_a_label_are_still_asked_to_agree() -> None:
    logits, labels = batch()
    labels[:] = 255
    logits.requires_grad_()
    loss = RandomViewConsensusLoss(ramp_epochs=0)(logits, labels)
    assert loss > 0
    assert (torch.autograd.grad(loss, logits)[0] != 0).all()
    assert RandomViewConsensusLoss(consistency=0.0)(logits, labels) == 0


def test_confident_logits_in_float16_stay_finite() -> None:
    logits, labels = batch()
    loss = RandomViewConsensusLoss(ramp_epochs=0)(5000 * logits.half(), labels)
    assert torch.isfinite(loss)
    assert loss.dtype == torch.float32


def test_auxiliary_head() -> None:
    logits, labels = batch()
    both = torch.stack([logits, torch.randn_like(logits)], dim=2)  # (B, views, heads, K, H, W)
    consensus = RandomViewConsensusLoss(ramp_epochs=0)
    torch.testing.assert_close(consensus(both, labels), consensus(logits, labels))
    auxiliary = AuxiliaryLoss(OEEMLoss())
    expected = (auxiliary(both[:, 0], labels) + auxiliary(both[:, 1], labels)) / 2
    torch.testing.assert_close(EachViewLoss(auxiliary)(both, labels), expected)


@pytest.mark.parametrize("loss", [RandomViewConsensusLoss(), EachViewLoss(OEEMLoss())])
def test_logits_of_one_view(loss: torch.nn.Module) -> None:
    with pytest.raises(ValueError, match=r"Expected logits of two views, .* found \(3, 1, 2, 4, 5\). Use camtools"):
        loss(torch.zeros(3, 1, 2, 4, 5), torch.zeros(3, 1, 4, 5).long())


def test_negative_arguments() -> None:
    with pytest.raises(ValueError, match=r"Expected consistency and ramp_epochs of at least 0, found -1 and 10. Corr"):
        RandomViewConsensusLoss(consistency=-1)
    with pytest.raises(ValueError, match=r"found 1.0 and -2. Correct"):
        RandomViewConsensusLoss(ramp_epochs=-2)
