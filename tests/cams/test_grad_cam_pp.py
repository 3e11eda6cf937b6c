"""Grad-CAM++: derivatives of the exponential score, denominators of zero, small gradients."""

from __future__ import annotations

import torch

from camtools.cams import grad_cam, grad_cam_pp


def test_grad_cam_pp_is_made_of_the_derivatives_of_the_exponential_score():
    activations, gradients = torch.randn(2, 3).double(), torch.randn(2, 3).double()
    expected = torch.zeros(3).double()
    for k in range(2):
        weight = 0.0
        for i in range(3):
            step = torch.zeros((), dtype=torch.float64, requires_grad=True)
            score = ((activations * gradients).sum() + gradients[k, i] * step).exp()
            (first,) = torch.autograd.grad(score, step, create_graph=True)
            (second,) = torch.autograd.grad(first, step, create_graph=True)
            (third,) = torch.autograd.grad(second, step)
            weight += second / (2 * second + activations[k].sum() * third) * first.relu()
        expected += (weight * activations[k]).detach()
    factor = (activations * gradients).sum().exp()
    torch.testing.assert_close(factor * grad_cam_pp(activations[None], gradients[None])[0, 0], expected.relu())


def test_grad_cam_pp_zero_denominator_counts_zero():
    activations = torch.tensor([[[-3.0, 1.0, 1.0]]])  # sum -1: the divided denominator of gradient 2 is 2 - 2 = 0
    gradients = torch.tensor([[[2.0, 0.0, 1.0]]])  # weight 0 + 0 + 1 / (2 - 1)
    torch.testing.assert_close(grad_cam_pp(activations, gradients), torch.tensor([[[0.0, 1.0, 1.0]]]))
    assert not grad_cam_pp(activations, torch.zeros(1, 1, 3)).any()


def test_grad_cam_pp_small_gradients_do_not_underflow():
    activations, gradients = torch.rand(1, 2, 4), 1e-30 * torch.rand(1, 2, 4)  # their squares are 0 in float32
    limit = grad_cam(activations, 4 * gradients) / 2  # alpha tends to 1 / 2 as the gradient tends to 0
    torch.testing.assert_close(grad_cam_pp(activations, gradients), limit, rtol=1e-5, atol=0)
    assert limit.all()
