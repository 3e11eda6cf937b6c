from __future__ import annotations

import torch

from camtools.cams import GradCAM, LayerCAM
from camtools.tuning.shared_pass import SharedPass
from tests.cam_classifiers import tiny_network


def test_methods_share_one_forward_and_one_backward_pass() -> None:
    network, images = tiny_network(), torch.rand(3, 1, 32, 36)
    calls: list[int] = []
    network.register_forward_hook(lambda *arguments: calls.append(1))
    layers = network.cam_layers
    cams = [GradCAM(network, layers), LayerCAM(network, layers)]
    shared = SharedPass(cams)(images, target=1)
    assert len(calls) == 1
    torch.testing.assert_close(shared, torch.cat([cam(images, target=1) for cam in cams], dim=1))
