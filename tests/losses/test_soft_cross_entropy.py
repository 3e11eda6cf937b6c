from __future__ import annotations

import math

import pytest
import torch
from monai.losses import DiceLoss

from camtools.losses import DualPseudoLabelLoss, EachViewLoss, SoftCrossEntropyLoss
from tests.reference.losses import reference_cross_entropy, reference_dual_pseudo_label


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_soft_cross_entropy_matches_reference(generator):
    logits = 3 * torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64)
    target = torch.rand(2, 4, 3, 5, generator=generator, dtype=torch.float64).softmax(dim=1)
    expected = reference_cross_entropy(logits, target)
    assert SoftCrossEntropyLoss()(logits, target).item() == pytest.approx(expected, rel=1e-12)


def test_soft_cross_entropy_of_hard_labels_is_cross_entropy(generator):
    logits = torch.randn(2, 3, 4, 4, generator=generator)
    labels = torch.randint(3, (2, 4, 4), generator=generator)
    one_hot = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    torch.testing.assert_close(
        SoftCrossEntropyLoss()(logits, one_hot), torch.nn.functional.cross_entropy(logits, labels)
    )


def test_soft_cross_entropy_gradient_is_probability_minus_label(generator):
    logits = torch.randn(2, 3, 4, 4, generator=generator, requires_grad=True)
    target = torch.rand(2, 3, 4, 4, generator=generator).softmax(dim=1)
    SoftCrossEntropyLoss()(logits, target).backward()
    torch.testing.assert_close(logits.grad, (logits.softmax(dim=1) - target).detach() / (2 * 4 * 4))


def test_soft_cross_entropy_in_3d():
    loss = SoftCrossEntropyLoss()(torch.zeros(1, 2, 3, 4, 5), torch.full((1, 2, 3, 4, 5), 0.5))
    assert loss.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("lam", [0.0, 0.1, 0.5, 1.0])
def test_dual_pseudo_label_matches_reference(generator, lam):
    logits = 3 * torch.randn(2, 2, 3, 5, generator=generator, dtype=torch.float64)
    target = torch.rand(2, 2, 3, 5, generator=generator, dtype=torch.float64)
    expected = reference_dual_pseudo_label(logits, target[:, 0], target[:, 1], lam)
    assert DualPseudoLabelLoss(lam)(logits, target).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("lam", "used"), [(1.0, 0), (0.0, 1)])
def test_single_supervision_ignores_the_other_label(generator, lam, used):
    logits = torch.randn(1, 2, 4, 4, generator=generator)
    target = torch.rand(1, 2, 4, 4, generator=generator)
    other = target.clone()
    other[:, 1 - used] = torch.rand(1, 4, 4, generator=generator)
    loss = DualPseudoLabelLoss(lam)
    assert loss(logits, target) == loss(logits, other)
    soft = torch.stack((1 - target[:, used], target[:, used]), dim=1)
    torch.testing.assert_close(loss(logits, target), SoftCrossEntropyLoss()(logits, soft))


def test_one_label_alone_is_supervision_by_it(generator):
    logits = torch.randn(2, 2, 4, 4, generator=generator)
    mask = (torch.rand(2, 1, 4, 4, generator=generator) > 0.5).float()
    expected = SoftCrossEntropyLoss()(logits, torch.cat((1 - mask, mask), dim=1))
    for lam in (0.1, 1.0):
        torch.testing.assert_close(DualPseudoLabelLoss(lam)(logits, mask), expected)


def test_dual_pseudo_label_default_by_hand():
    logits = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1)  # P_p = (1/4, 3/4)
    target = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)  # UM-CAM: foreground, SPL: background
    expected = 0.1 * -math.log(0.75) + 0.9 * -math.log(0.25)
    assert DualPseudoLabelLoss()(logits, target).item() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(generator, dtype):
    logits = (20 * torch.randn(2, 2, 8, 8, generator=generator)).to(dtype)
    target = torch.rand(2, 2, 8, 8, generator=generator)
    loss = DualPseudoLabelLoss()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss(logits, target)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(logits.float(), target))


def test_extreme_logits_stay_finite():
    logits = torch.tensor([-1e4, 1e4]).view(1, 2, 1, 1)
    assert torch.isfinite(DualPseudoLabelLoss()(logits, torch.full((1, 2, 1, 1), 0.5)))


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"same shape \(B, K, \*spatial\), found \(1, 2, 4, 4\) and \(1, 4, 4\)"):
        SoftCrossEntropyLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match=r"both \(B, 2, \*spatial\), .* found \(1, 3, 4, 4\)"):
        DualPseudoLabelLoss()(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"both \(B, 2, \*spatial\), .* found .* and \(1, 2, 5, 4\)"):
        DualPseudoLabelLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 5, 4))
    with pytest.raises(ValueError, match=r"or as target one label \(B, 1, \*spatial\), found .* and \(1, 3, 4, 4\)"):
        DualPseudoLabelLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"found \(1, 2, 4, 4\) and \(1, 1, 4\)"):
        DualPseudoLabelLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4))


@pytest.mark.parametrize("lam", [-0.1, 1.1, math.nan])
def test_lam_is_checked(lam):
    with pytest.raises(ValueError, match=r"expected lam \(the weight of UM-CAM\) in \[0, 1\], found"):
        DualPseudoLabelLoss(lam)


def test_another_loss_of_the_combined_labels() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 2, 4, 5), torch.rand(2, 2, 4, 5)
    dice = DiceLoss(softmax=True)
    foreground = 0.3 * target[:, :1] + 0.7 * target[:, 1:]
    expected = dice(logits, torch.cat([1 - foreground, foreground], dim=1))
    torch.testing.assert_close(DualPseudoLabelLoss(0.3, dice)(logits, target), expected)
    views = torch.stack([logits, logits], dim=1)
    torch.testing.assert_close(DualPseudoLabelLoss(0.3, EachViewLoss(dice))(views, target), expected)
