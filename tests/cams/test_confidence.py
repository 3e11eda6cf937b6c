"""Probability of a class in every image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from camtools.cams.confidence import image_confidences


class Means(nn.Module):
    """The mean of each channel is a logit; training adds 5 to the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1))
        self.passes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.passes.append(len(images))
        logits = images.mean((2, 3)) + self.offset
        return logits + 5 * torch.eye(logits.shape[1])[-1] if self.training else logits


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 3, 8, 6, generator=torch.Generator().manual_seed(0))


def test_softmax_of_several_logits_and_sigmoid_of_one(images: Tensor) -> None:
    logits = images.mean((2, 3))
    torch.testing.assert_close(image_confidences(Means(), images, 2), logits.softmax(1)[:, 2])
    torch.testing.assert_close(image_confidences(Means(), images[:, :1], 0), logits[:, 0].sigmoid())


def test_the_network_is_given_back_as_it_was(images: Tensor) -> None:
    network = Means().train()
    found = image_confidences(network, images)
    assert network.training
    assert not found.requires_grad
    assert torch.equal(found, image_confidences(network.eval(), images))
    assert not network.training


@pytest.mark.parametrize(("batch_size", "passes"), [(2, [2, 2, 1]), (None, [5])])
def test_passes(images: Tensor, batch_size: int | None, passes: list[int]) -> None:
    network = Means()
    torch.testing.assert_close(image_confidences(network, images, 1, batch_size), image_confidences(Means(), images))
    assert network.passes == passes


def test_images_take_the_type_of_the_weights(images: Tensor) -> None:
    found = image_confidences(Means().double(), images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, image_confidences(Means(), images.double()))


def test_no_images() -> None:
    assert image_confidences(Means(), torch.zeros(0, 2, 8, 8)).shape == (0,)


def test_class_that_the_network_does_not_have(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected target in 0\.\.0 for a model with 1 logits, found 1"):
        image_confidences(Means(), images[:, :1])
