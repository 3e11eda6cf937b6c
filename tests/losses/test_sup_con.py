from __future__ import annotations

import math
import re

import pytest
import torch

from camtools.losses import SupConLoss
from tests.reference.losses import reference_sup_con


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("shape", "classes", "temperature"),
    [((6, 1, 4), 2, 0.5), ((5, 2, 3), 3, 0.07), ((4, 3, 8), 2, 0.1), ((7, 2, 5), 7, 1.0), ((9, 1, 6), 5, 0.2)],
)
def test_sup_con_matches_reference(generator, shape, classes, temperature):
    features = torch.randn(shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, shape[:1], generator=generator)
    loss = SupConLoss(temperature)(features, labels)
    assert loss.item() == pytest.approx(reference_sup_con(features, labels, temperature), rel=1e-10)
    assert loss > 0


def test_sup_con_by_hand_leaves_out_a_view_without_partner():
    features = torch.tensor([[[2.0, 0.0]], [[0.0, 5.0]], [[-1.0, 0.0]]])
    # image 0: partner at 0, other at -1; image 1: both at 0; image 2 is alone in its class
    expected = (math.log(1 + math.exp(-2)) + math.log(2)) / 2
    assert SupConLoss(temperature=0.5)(features, torch.tensor([4, 4, 9])).item() == pytest.approx(expected)


@pytest.mark.parametrize("images", [1, 4])
def test_sup_con_without_partners_is_zero(generator, images):
    features = torch.randn(images, 1, 3, generator=generator, requires_grad=True)
    loss = SupConLoss()(features, torch.arange(images))
    loss.backward()
    assert loss == 0
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_sup_con_does_not_depend_on_order_or_length(generator):
    features = torch.randn(6, 3, 4, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 2, 0, 1])
    loss = SupConLoss()(features, labels)
    order = torch.randperm(6, generator=generator)
    torch.testing.assert_close(SupConLoss()(features[order][:, [2, 0, 1]], labels[order]), loss)
    lengths = 10 * torch.rand(6, 3, 1, generator=generator, dtype=torch.float64) + 0.1
    torch.testing.assert_close(SupConLoss()(lengths * features, labels), loss)
    torch.testing.assert_close(SupConLoss()(features, labels[:, None]), loss)
    assert (SupConLoss()(features, labels.roll(1)) - loss).abs() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_sup_con_of_half_precision_is_computed_in_float32(generator, dtype, autocast):
    features = (3 * torch.randn(8, 2, 16, generator=generator)).to(dtype).requires_grad_()
    labels = torch.arange(8) % 3
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = SupConLoss()(features, labels)
    loss.backward()
    assert loss.dtype == torch.float32
    wide = features.detach().float().requires_grad_()
    expected = SupConLoss()(wide, labels)
    expected.backward()
    torch.testing.assert_close(loss, expected)
    assert features.grad.dtype == dtype
    torch.testing.assert_close(features.grad, wide.grad.to(dtype))


def test_sup_con_stays_finite_at_a_low_temperature():
    # each view is at a right angle to its partner and equal to a view of the other class: log(2 + e^(1 / t)) = 1 / t
    features = torch.eye(2).repeat(2, 1, 1).requires_grad_()
    loss = SupConLoss(temperature=1e-3)(features, torch.tensor([0, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(1000)
    assert torch.isfinite(features.grad).all()
    assert features.grad.abs().max() > 1


@pytest.mark.parametrize("temperature", [0.0, -0.1, math.nan])
def test_sup_con_temperature_is_checked(temperature):
    with pytest.raises(ValueError, match=f"expected a positive temperature, found {temperature}"):
        SupConLoss(temperature)


@pytest.mark.parametrize(("shape", "labels"), [((4, 8), 4), ((4, 2, 8), 8), ((4, 2, 8, 1), 4)])
def test_sup_con_shapes_are_checked(shape, labels):
    message = (
        f"expected features (B, V, D), V views of each image, and labels (B,), found {shape} and ({labels},); Augm"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        SupConLoss()(torch.zeros(shape), torch.zeros(labels))
