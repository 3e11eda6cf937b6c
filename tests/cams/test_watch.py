"""Gradients also where a model switches them off: checkpoints, frozen encoders."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models import DenseNet

from camtools.cams import CAM, FullGrad, GradCAM, LTFullGrad, LTGradCAM
from tests.cam_models import ANY_LAYER_CLASSES, CAM_CLASSES, GRADIENT_CLASSES, LAYERS, Classifier
from tests.cams.test_capture import state


class Checkpointed(Classifier):
    """Both stages checkpointed, as an encoder that saves memory in training."""

    reentrant: bool | None = None

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for part in (self.features[:3], self.features[3:]):
            x = part(x) if self.reentrant is None else checkpoint(part, x, use_reentrant=self.reentrant)
        return self.head(x.mean(dim=(2, 3)))


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(
    "layers", [["features.0"], ["features.5"], ["features.1", "features.4"], ["features.1", "head"]]
)
@pytest.mark.parametrize("cam_class", ANY_LAYER_CLASSES)
def test_checkpointed_models(cam_class, layers, frozen, reentrant, images):
    model = Checkpointed().eval().requires_grad_(not frozen)
    layers = [layer for layer in layers if layer != "head"]
    expected = cam_class(model, layers)(images, 1)
    model.reentrant = reentrant
    before = state(model)
    torch.testing.assert_close(cam_class(model, layers)(images, 1), expected)
    assert state(model) == before


def test_checkpoints_work_again_afterwards(images):
    model = Checkpointed()
    model.reentrant = False
    names = ("checkpoint", "CheckpointFunction", "_checkpoint_without_reentrant_generator")
    before = [getattr(torch.utils.checkpoint, name, None) for name in names]
    GradCAM(model, LAYERS)(images)
    assert [getattr(torch.utils.checkpoint, name, None) for name in names] == before


@pytest.mark.parametrize("cam_class", [FullGrad, LTFullGrad, GradCAM, LTGradCAM])
def test_densenet_that_saves_memory(cam_class):
    args = {"growth_rate": 4, "block_config": (2, 2), "num_init_features": 8, "num_classes": 3}
    saving, plain = DenseNet(**args, memory_efficient=True).eval(), DenseNet(**args).eval()
    plain.load_state_dict(saving.state_dict())
    layers = ["features.denseblock1.denselayer2.norm2", "features.denseblock2.denselayer1.norm1"]
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(cam_class(saving, layers)(images, 1), cam_class(plain, layers)(images, 1))


class Frozen(Classifier):
    """An encoder that the model runs without gradients, as transfer learning does."""

    way = "none"

    def forward(self, images: Tensor) -> Tensor:
        if self.way == "no_grad":
            with torch.no_grad():
                x = self.features(images)
        elif self.way == "inference_mode":
            with torch.inference_mode():
                x = self.features(images)
        elif self.way == "set_grad_enabled":
            torch.set_grad_enabled(False)
            x = self.features(images)
            torch.set_grad_enabled(True)
        elif self.way == "decorator":
            x = torch.no_grad()(self.features)(images)
        else:
            x = self.features(images)
        return self.head(x.mean(dim=(2, 3)))


@pytest.mark.parametrize("way", ["no_grad", "inference_mode", "set_grad_enabled", "decorator"])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_frozen_encoders(cam_class, frozen, way, images):
    model = Frozen().eval()
    model.features.requires_grad_(not frozen)
    expected = cam_class(model, ["features.5"])(images, 1)
    model.way = way
    before = state(model)
    torch.testing.assert_close(cam_class(model, ["features.5"])(images, 1), expected)
    if cam_class in GRADIENT_CLASSES:
        shallow = cam_class(model, ["features.1"])(images, 1)
        model.way = "none"
        torch.testing.assert_close(shallow, cam_class(model, ["features.1"])(images, 1))
    assert state(model) == before
    assert torch.is_grad_enabled()


class Statistics(Classifier):
    """Writes what it sees to a buffer, without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(6))
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)
        with torch.no_grad():
            self.seen.mul_(0.5).add_(x.mean(dim=(0, 2, 3)))
            self.seen[:] = x.amax(dim=(0, 2, 3))
            self.scale.clamp_(min=0)
        return self.head((x * self.scale[:, None, None]).mean(dim=(2, 3)))


@pytest.mark.parametrize("cam_class", [GradCAM, FullGrad])
def test_buffers_stay_out_of_the_graph(cam_class, images):
    model = Statistics().eval()
    cam_class(model, ["features.0"])(images, 1)
    assert not model.seen.requires_grad
    assert model.seen.any()


def test_gradient_that_the_model_cuts_off(images):
    class Cut(Classifier):
        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.features(images).detach().mean(dim=(2, 3)))

    for cam in (GradCAM(Cut(), LAYERS), GradCAM(Cut().requires_grad_(False), LAYERS), FullGrad(Cut())):
        with pytest.raises(ValueError, match=r"no gradient reaches .*cuts it off with detach\(\).*no_grad.*choose a"):
            cam(images, 1)


def test_cam_of_a_model_without_gradients(model, images):
    expected = CAM(model, ["features.5"])(images, 1)
    frozen = Frozen().eval()
    frozen.load_state_dict(model.state_dict())
    frozen.way = "inference_mode"
    torch.testing.assert_close(CAM(frozen, ["features.5"])(images, 1), expected)
