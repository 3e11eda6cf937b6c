"""Targets and logits."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch import Tensor, nn

from camtools.cams import (
    GradCAM,
)
from tests.cam_models import CAM_CLASSES, LAYERS, Classifier


@pytest.fixture
def model() -> Classifier:
    return Classifier()


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_target_forms_agree(cam_class, model, images):
    cam = cam_class(model, ["features.5"])
    torch.testing.assert_close(cam(images, 2), cam(images, torch.full((4,), 2)))
    torch.testing.assert_close(cam(images, 2), cam(images, torch.full((4,), 2, dtype=torch.uint8)))
    torch.testing.assert_close(cam(images), cam(images, model.eval()(images).argmax(dim=1)))


class OneLogit(Classifier):
    def __init__(self, squeeze: bool) -> None:
        super().__init__(classes=1)
        nn.init.constant_(self.head.weight, 0.5)
        self.squeeze = squeeze

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits[:, 0] if self.squeeze else logits


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
@pytest.mark.parametrize("squeeze", [True, False])
def test_one_logit(cam_class, squeeze, images):
    cam = cam_class(OneLogit(squeeze), ["features.5"])
    torch.testing.assert_close(cam(images), cam(images, target=0))
    assert cam(images).any()
    with pytest.raises(
        ValueError, match=r"expected target in 0..0 for a model with 1 logits, found 1; a one-logit model takes"
    ):
        cam(images, target=1)


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_wrong_targets(cam_class, model, images):
    cam = cam_class(model, ["features.5"])
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=rf"expected target in 0..2 for a model with 3 logits, found {wrong}"):
            cam(images, target=wrong)
        with pytest.raises(ValueError, match=rf"expected target in 0..2 .*found {wrong}"):
            cam(images, target=torch.tensor([0, 1, wrong, 2]))
    with pytest.raises(ValueError, match=r"one integer class per image, shape \(4,\), found shape \(3,\)"):
        cam(images, target=torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"one integer class per image, .* of torch.float32"):
        cam(images, target=torch.zeros(4))
    with pytest.raises(ValueError, match=r"expected target to be an int, an integer tensor \(B,\) or None, found list"):
        cam(images, target=[0, 1, 2, 0])


class Wrapped(nn.Module):
    def __init__(self, output: str) -> None:
        super().__init__()
        self.inner = Classifier()
        self.output = output

    def forward(self, images: Tensor) -> object:
        logits = self.inner(images)
        return {"dict": {"logits": logits}, "map": logits[:, :, None, None]}[self.output]


@pytest.mark.parametrize(("output", "found"), [("dict", "dict"), ("map", r"\(4, 3, 1, 1\)")])
def test_model_that_does_not_return_logits(output, found, images):
    with pytest.raises(
        ValueError, match=rf"expected a classifier that returns logits \(B, K\) with B = 4, found {found}"
    ):
        GradCAM(Wrapped(output), ["inner.features.5"])(images)


class Squeezes(Classifier):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        nn.init.constant_(self.head.weight, 0.5)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).squeeze()


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_squeezed_logits(cam_class, classes, images):
    images = torch.cat([images, images[:1]])
    plain, model = Classifier(classes).eval(), Squeezes(classes).eval()
    model.load_state_dict(plain.state_dict())
    expected = cam_class(plain, ["features.5"])(images, 0)
    for size in (None, 5, 4, 2, 1):
        torch.testing.assert_close(cam_class(model, ["features.5"], batch_size=size)(images, 0), expected)
    torch.testing.assert_close(cam_class(model, ["features.5"])(images[:1], 0), expected[:1])


Named = namedtuple("Named", "logits aux")


@pytest.mark.parametrize(
    ("wrap", "found"),
    [
        (lambda logits: {"out": logits, "aux": logits}, "dict with out, aux"),
        (lambda logits: Named(logits, None), "Named with logits, aux"),
        (lambda logits: (logits, logits), "tuple of 2"),
        (lambda logits: logits[:, :, None, None], r"\(4, 3, 1, 1\) of torch.float32, scores of pixels\? average them"),
        (lambda logits: logits.argmax(dim=1), r"\(4,\) of torch.int64"),
    ],
)
def test_outputs_that_are_no_logits(wrap, found, images):
    class Wraps(Classifier):
        def forward(self, images: Tensor) -> object:
            return wrap(super().forward(images))

    with pytest.raises(ValueError, match=rf"returns logits \(B, K\) with B = 4, found {found}; wrap the model"):
        GradCAM(Wraps(), LAYERS)(images)
