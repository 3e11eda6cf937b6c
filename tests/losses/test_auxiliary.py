from __future__ import annotations

import re

import pytest
import torch
from torch.nn import functional as F

from camtools.losses import AuxiliaryLoss, OEEMLoss, SoftCrossEntropyLoss


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def difference(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (logits[:, 0] - labels[:, 0]).sum()


def test_by_hand() -> None:
    logits = torch.tensor([[[[5.0]], [[3.0]]], [[[1.0]], [[8.0]]]])  # (B=2, heads=2, K=1, N=1)
    labels = torch.tensor([[[1.0]], [[2.0]]])  # main: 4 - 1 = 3; auxiliary: 2 + 6 = 8
    assert AuxiliaryLoss(difference)(logits, labels).item() == pytest.approx(3 + 0.4 * 8)
    assert AuxiliaryLoss(difference, weight=0.25)(logits, labels).item() == pytest.approx(3 + 2)
    assert AuxiliaryLoss(difference, weight=0)(logits, labels).item() == pytest.approx(3)
    assert AuxiliaryLoss(difference)(logits[:, 1], labels).item() == pytest.approx(8)


def test_auxiliary_head_may_have_a_loss_of_its_own() -> None:
    logits, labels = torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1)
    logits[:, 1] = 5  # the own loss of the auxiliary head: 25 + 1
    own = AuxiliaryLoss(difference, weight=0.5, auxiliary=lambda logits, labels: (logits**2).sum() + labels.sum())
    assert own(logits, labels).item() == pytest.approx(-1 + 0.5 * 26)


@pytest.mark.parametrize("spatial", [(7,), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize("weighting", ["loss_norm", "none"])
def test_is_the_sum_of_both_losses(generator: torch.Generator, spatial: tuple[int, ...], weighting: str) -> None:
    logits = torch.randn(3, 2, 2, *spatial, generator=generator, requires_grad=True)
    labels = torch.randint(2, (3, 1, *spatial), generator=generator)
    loss = OEEMLoss(weighting)
    total = AuxiliaryLoss(loss)(logits, labels)
    torch.testing.assert_close(total, loss(logits[:, 0], labels) + 0.4 * loss(logits[:, 1], labels))
    torch.testing.assert_close(AuxiliaryLoss(loss)(logits[:, 0], labels), loss(logits[:, 0], labels))
    (gradient,) = torch.autograd.grad(total, logits)
    assert (gradient.flatten(2).abs().sum(dim=2) > 0).all()


def test_two_classes_are_not_taken_for_two_heads(generator: torch.Generator) -> None:
    logits = torch.randn(3, 2, 4, 5, generator=generator)
    labels = torch.randint(2, (3, 1, 4, 5), generator=generator)
    torch.testing.assert_close(AuxiliaryLoss(OEEMLoss("none"))(logits, labels), F.cross_entropy(logits, labels[:, 0]))


def test_soft_labels(generator: torch.Generator) -> None:
    logits = torch.randn(3, 2, 4, 5, 6, generator=generator)
    labels = torch.rand(3, 4, 5, 6, generator=generator).softmax(dim=1)
    expected = F.cross_entropy(logits[:, 0], labels) + 0.4 * F.cross_entropy(logits[:, 1], labels)
    torch.testing.assert_close(AuxiliaryLoss(SoftCrossEntropyLoss())(logits, labels), expected)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ((3, 3, 2, 4, 4), (3, 1, 4, 4)),  # three heads
        ((3, 2, 2, 4, 4), (3, 1, 5, 4)),
        ((3, 2, 4, 4), (3, 4, 4)),  # labels without a channel
        ((3, 2, 1, 2, 4, 4), (3, 1, 4, 4)),
        ((3, 2), (3, 1, 4)),
    ],
)
def test_shapes_are_checked(logits: tuple[int, ...], labels: tuple[int, ...]) -> None:
    message = (
        f"*spatial) and logits (B, 2, K, *spatial) of a head and an auxiliary head, or (B, K, *spatial), found {labels}"
    )
    with pytest.raises(ValueError, match=re.escape(f"{message} and {logits}")):
        AuxiliaryLoss(OEEMLoss())(torch.zeros(logits), torch.zeros(labels, dtype=torch.long))


@pytest.mark.parametrize("weight", [-0.1, float("nan")])
def test_weight_is_checked(weight: float) -> None:
    with pytest.raises(ValueError, match=f"expected a weight of the auxiliary loss of at least 0, found {weight}"):
        AuxiliaryLoss(OEEMLoss(), weight)
