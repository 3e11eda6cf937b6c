from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from camtools.cams import GradCAM
from tests.cam_models import ANY_LAYER_CLASSES, CAM_CLASSES, LAYERS, Classifier, full_grad, lt_full_grad


@pytest.fixture
def model() -> Classifier:
    return Classifier()


@pytest.fixture
def expected(model, images) -> Tensor:
    """Maps of target 1, computed once in double precision."""
    return GradCAM(copy.deepcopy(model).double(), LAYERS)(images, target=1)


def state(model: nn.Module) -> list[object]:
    return [
        [(module.training, len(module._forward_hooks), len(module._backward_hooks)) for module in model.modules()],
        [(parameter.requires_grad, parameter.grad, parameter._version) for parameter in model.parameters()],
        [buffer.clone().tolist() for buffer in model.buffers()],
    ]


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_model_is_given_back_as_it_was(cam_class, model, images):
    model.train()
    model.features[4].eval()
    model.features[0].weight.requires_grad_(False)
    handle = model.features[5].register_forward_hook(lambda module, inputs, output: None)
    before = state(model)
    cam_class(model, ["features.5"])(images)
    assert state(model) == before
    assert torch.is_grad_enabled()
    handle.remove()


class Broken(Classifier):
    def forward(self, images: Tensor) -> Tensor:
        self.features(images)
        raise RuntimeError("out of order")


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_model_is_given_back_when_its_forward_raises(cam_class, images):
    model = Broken().train()
    before = state(model)
    with pytest.raises(RuntimeError, match="out of order"):
        cam_class(model, LAYERS)(images)
    assert state(model) == before
    assert torch.is_grad_enabled()


def test_training_mode_does_not_change_the_maps(model, images, expected):
    torch.testing.assert_close(GradCAM(model.train(), LAYERS)(images, 1), expected)
    torch.testing.assert_close(GradCAM(model.eval(), LAYERS)(images, 1), expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_under_no_grad_and_inference_mode(cam_class, mode, model, images):
    cam = cam_class(model, ["features.5"])
    outside = cam(images, target=1)
    with mode():
        inside = cam(images.clone(), target=1)  # in inference mode the clone is an inference tensor
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


@pytest.mark.parametrize("skip", ["identity", "stem"])
def test_inference_tensor_that_is_an_activation_or_is_used_again(skip, images):
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.identity, self.stem, self.top = nn.Identity(), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

        def forward(self, images: Tensor) -> Tensor:
            return self.top(self.stem(self.identity(images)) * images).mean(dim=(2, 3))

    cam = GradCAM(Skip(), [skip])
    outside = cam(images, target=1)
    with torch.inference_mode():
        torch.testing.assert_close(cam(images.clone(), target=1), outside)


@pytest.mark.parametrize("cam_class", ANY_LAYER_CLASSES)
def test_frozen_model(cam_class, model, images):
    expected = cam_class(model, LAYERS)(images, 1)
    torch.testing.assert_close(cam_class(model.requires_grad_(False), LAYERS)(images, 1), expected)
    assert expected.any()


def test_images_that_require_grad_get_none(model, images, expected):
    images.requires_grad_()
    torch.testing.assert_close(GradCAM(model, LAYERS)(images, 1), expected)
    assert images.grad is None


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_model_that_writes_into_its_input(cam_class, images):
    class Scales(Classifier):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.mul_(2))

    before = images.clone()
    model, plain = Scales(), Classifier()
    plain.load_state_dict(model.state_dict())
    maps = cam_class(model, ["features.5"])(images, target=1)
    torch.testing.assert_close(images, before, rtol=0, atol=0)
    if cam_class not in (full_grad, lt_full_grad):  # these multiply the input by its gradient
        torch.testing.assert_close(maps, cam_class(plain, ["features.5"])(2 * images, target=1))


class Counting(Classifier):
    forwards = 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += 1
        return super().forward(images)


@pytest.mark.parametrize(("batch_size", "passes"), [(None, 1), (1, 4), (3, 2), (100, 1)])
def test_one_forward_and_one_backward_per_chunk(batch_size, passes, images, monkeypatch):
    model = Counting()
    backwards = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **kwargs: backwards.append(1) or grad(*args, **kwargs))
    targets = torch.tensor([0, 2, 1, 2])
    maps = GradCAM(model, LAYERS, batch_size=batch_size)(images, target=targets)
    assert (model.forwards, len(backwards)) == (passes, passes)
    torch.testing.assert_close(maps, GradCAM(model, LAYERS)(images, target=targets))


def test_batch_size_is_checked(model):
    with pytest.raises(ValueError, match="expected batch_size >= 1, or None for the default, found 0"):
        GradCAM(model, LAYERS, batch_size=0)


def test_no_graph_below_the_shallowest_layer(model, images):
    seen = []
    for index in (0, 1, 2):
        model.features[index].register_forward_hook(lambda m, inputs, output: seen.append(output.requires_grad))
    GradCAM(model, ["features.3", "features.5"])(images)
    assert seen == [False, False, False]


class NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("the backward pass went below the shallowest layer or into a parameter")


def test_backward_computes_activations_only(model, images, expected):
    class Guarded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(NoBackward.apply(images * self.weight)) + NoBackward.apply(0 * self.weight)

    maps = GradCAM(Guarded(), [f"inner.{layer}" for layer in LAYERS])(images, 1)
    torch.testing.assert_close(maps, expected)
