"""XGrad-CAM: channels that sum to zero, and the conserved sum."""

from __future__ import annotations

import torch

from camtools.cams import grad_cam, xgrad_cam


def test_xgrad_cam_channel_that_sums_to_zero_has_weight_zero():
    activations = torch.tensor([[[0.0, 0.0], [1.0, -1.0], [1.0, 3.0]]])
    gradients = torch.tensor([[[5.0, 5.0], [5.0, 2.0], [1.0, 1.0]]])
    torch.testing.assert_close(xgrad_cam(activations, gradients), torch.tensor([[[1.0, 3.0]]]))


def test_xgrad_cam_conserves_the_sum():
    activations, gradients = torch.rand(2, 5, 6, 7), torch.rand(2, 5, 6, 7)
    torch.testing.assert_close(xgrad_cam(activations, gradients).sum(), (activations * gradients).sum())
    constant = torch.randn(2, 5, 1, 1).expand(2, 5, 6, 7)
    torch.testing.assert_close(xgrad_cam(activations, constant), grad_cam(activations, constant))
