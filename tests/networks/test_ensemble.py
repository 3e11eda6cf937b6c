from __future__ import annotations

import pytest
import torch
from torch import nn

from camtools.networks import VGG16CAM, EfficientNetLite0CAM, EfficientNetLite0UNet, Ensemble, members_of


def convolution() -> nn.Module:
    return nn.Conv2d(1, 3, 3, padding=1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_prediction_is_the_mean_probability(size: int) -> None:
    network = Ensemble(convolution, size).eval()
    images = torch.randn(4, 1, 6, 5)
    total = torch.zeros(4, 3, 6, 5)
    for member in network.members:
        total += member(images).softmax(dim=1)
    torch.testing.assert_close(network(images).softmax(dim=1), total / size)


def test_logits_by_hand() -> None:
    network = Ensemble(nn.Identity, 2).eval()
    network.members[1] = nn.Softplus()  # log(1 + exp(z))
    images = torch.log(torch.tensor([1.0, 3.0])).reshape(1, 2, 1, 1)
    # softmax of (log 1, log 3) is (1/4, 3/4); of (log 2, log 4) it is (1/3, 2/3)
    expected = torch.tensor([7 / 24, 17 / 24]).reshape(1, 2, 1, 1)
    torch.testing.assert_close(network(images).exp(), expected)


@pytest.mark.parametrize("batch", [1, 2, 5, 6])
def test_each_image_of_a_training_batch_teaches_one_member(batch: int) -> None:
    network = Ensemble(convolution, 3).train()
    images = torch.randn(batch, 1, 6, 5)
    logits = network(images)
    assert logits.shape == (batch, 3, 6, 5)
    for index, image in enumerate(images):
        equal = [torch.allclose(member(image[None])[0], logits[index], atol=1e-6) for member in network.members]
        assert equal.count(True) == 1


def test_members_learn_from_their_own_images() -> None:
    network = Ensemble(convolution, 2).train()
    weights = [[True], [False]]
    for index in range(2):
        chosen = torch.tensor(weights[index] + weights[1 - index]).reshape(2, 1, 1, 1)
        network.zero_grad()
        (network(torch.randn(2, 1, 6, 5)) * chosen).sum().backward()
        moved = [bool(member.weight.grad.any()) for member in network.members]
        assert moved == [index == 0, index == 1]


def test_members_differ_and_their_parts_are_found() -> None:
    network = Ensemble(lambda: EfficientNetLite0UNet(decoder_channels=(16, 16, 16, 16, 16)), 2)
    first, second = network.parts("encoder").parts
    assert first is network.members[0].encoder
    assert second is network.members[1].encoder
    assert not torch.equal(*[part.shallow.stem[0].weight for part in (first, second)])


def test_it_can_be_scripted() -> None:
    network = Ensemble(lambda: EfficientNetLite0UNet(decoder_channels=(16, 16, 16, 16, 16)), 2).eval()
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(images), network(images))


def test_no_member() -> None:
    with pytest.raises(ValueError, match="Expected at least 1 member of an ensemble, found 0"):
        Ensemble(convolution, 0)
    with pytest.raises(ValueError, match="average: expected probabilities or logits, found 'votes'"):
        Ensemble(convolution, average="votes")  # type: ignore[arg-type]


def test_the_mean_of_logits_and_of_class_maps() -> None:
    network = Ensemble(lambda: VGG16CAM(width=0.0625), 3, average="logits").eval()
    images = torch.rand(2, 1, 32, 32)
    members = members_of(network)
    with torch.no_grad():
        logits = sum(member(images) for member in members) / 3
        maps = sum(member.class_maps(images) for member in members) / 3  # type: ignore[operator]
        torch.testing.assert_close(network(images), logits)
        torch.testing.assert_close(network.class_maps(images), maps)


def unet() -> nn.Module:
    return EfficientNetLite0UNet(decoder_channels=(16, 16, 16, 16, 16))


@pytest.mark.parametrize(("classifiers", "starts"), [(1, [0, 0, 0]), (2, [0, 1, 0]), (3, [0, 1, 2])])
def test_encoders_start_from_the_classifiers_of_an_ensemble(classifiers: int, starts: list[int]) -> None:
    ensemble = Ensemble(lambda: EfficientNetLite0CAM(1), classifiers, average="logits")
    segmenter = Ensemble(unet, 3)
    segmenter.parts("encoder").load_state_dict(ensemble.state_dict())
    for member, start in zip(members_of(segmenter), starts, strict=True):
        expected = ensemble.members[start].shallow.stem[0].weight
        assert torch.equal(member.encoder.shallow.stem[0].weight, expected)  # type: ignore[union-attr, index]


def test_encoders_start_from_a_single_classifier() -> None:
    classifier, segmenter = EfficientNetLite0CAM(1), Ensemble(unet, 2)
    segmenter.parts("encoder").load_state_dict(classifier.state_dict())
    for member in members_of(segmenter):
        assert torch.equal(member.encoder.shallow.stem[0].weight, classifier.shallow.stem[0].weight)  # type: ignore[union-attr, index]
