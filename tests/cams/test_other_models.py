"""Models, layers and images as other people have them: right maps, or a message that names what to do."""

from __future__ import annotations

import copy
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models import DenseNet

from camtools.cams import CAM, AblationCAM, CfdCAM, FullGrad, GradCAM, LayerCAM, LTFullGrad, LTGradCAM, ScoreCAM
from tests.cam_models import ANY_LAYER_CLASSES, CAM_CLASSES, GRADIENT_CLASSES, LAYER_CLASSES, LAYERS, Classifier
from tests.cams.test_capture import state


def test_layers_given_as_modules(model, images):
    expected = GradCAM(model, LAYERS)(images, 1)
    modules = [model.get_submodule(name) for name in LAYERS]
    cam = GradCAM(model, modules)
    assert cam.layers == tuple(LAYERS)
    torch.testing.assert_close(cam(images, 1), expected)
    mixed = GradCAM(model, (modules[2], LAYERS[0], modules[2]))(images, 1)
    torch.testing.assert_close(mixed, expected[:, [2, 0, 2]])
    bias = FullGrad(model, [model.features[3]])
    torch.testing.assert_close(bias(images, 1), FullGrad(model, ["features.3"])(images, 1))


def test_module_that_has_two_names(model, images):
    model.again = model.features[3]
    maps = GradCAM(model, ["again", model.features[3]])(images, 1)
    torch.testing.assert_close(maps, GradCAM(model, ["features.3"])(images, 1).expand(-1, 2, -1, -1))


def test_layers_that_are_none_of_the_model(model):
    for other in (copy.deepcopy(model).features[3], nn.Conv2d(1, 1, 1), model):
        with pytest.raises(
            ValueError, match=r"expected layers of Classifier, found a \w+ that is not part of it .*name"
        ):
            GradCAM(model, [other])
    with pytest.raises(
        ValueError, match=r"expected layers as a list .* found a single Sequential; write layers=\[model.LAYER\] or"
    ):
        GradCAM(model, model.features)
    with pytest.raises(ValueError, match=r"expected a layer as a name or a module, found int 3"):
        GradCAM(model, [3])
    with pytest.raises(ValueError, match=r"expected layers as a list of layer names, found 3"):
        GradCAM(model, 3)


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_wrapped_models(cam_class, model, images):
    expected = cam_class(model, ["features.5"])(images, 1)
    wrapped = nn.DataParallel(model)
    before = state(wrapped)
    for layer in ("features.5", "module.features.5", model.features[5]):
        torch.testing.assert_close(cam_class(wrapped, [layer])(images, 1), expected)
    assert state(wrapped) == before
    compiled = torch.compile(nn.DataParallel(model), backend="eager")
    torch.testing.assert_close(cam_class(compiled, ["features.5"])(images, 1), expected)


def test_submodule_that_is_compiled(model, images):
    expected = GradCAM(copy.deepcopy(model), ["features.5"])(images, 1)
    inner = model.features[5]
    model.features[5] = torch.compile(inner, backend="eager")
    for layer in ("features.5", inner, model.features[5]):
        torch.testing.assert_close(GradCAM(model, [layer])(images, 1), expected)


@pytest.mark.parametrize("make", [torch.jit.script, lambda model: torch.jit.trace(model, torch.rand(1, 2, 8, 10))])
@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_scripted_models_are_refused(cam_class, make, model):
    with pytest.raises(
        ValueError, match=r"expected a model in Python, found a scripted or traced one .*load_state_dict"
    ):
        cam_class(make(model), ["features.5"])


@pytest.mark.parametrize("cam_class", LAYER_CLASSES)
def test_scripted_part_of_a_model(cam_class, model, images):
    expected = cam_class(copy.deepcopy(model), ["features.5"])(images, 1)
    model.features[4] = torch.jit.script(model.features[4])
    torch.testing.assert_close(cam_class(model, ["features.5"])(images, 1), expected)
    with pytest.raises(
        ValueError, match=r"expected layers in Python, found 'features.4', which is scripted .* choose one"
    ):
        cam_class(model, ["features.5", "features.4"])


def test_exported_models_are_refused(model, images):
    program = torch.export.export(model, (images,))
    with pytest.raises(
        ValueError, match=r"expected a model that is a torch.nn.Module, found ExportedProgram; pass the"
    ):
        GradCAM(program, ["features.5"])
    with pytest.raises(ValueError, match=r"found \w+ of torch.export, whose layers cannot be read .*pass the network"):
        GradCAM(program.module(), ["features"])(images)
    with pytest.raises(ValueError, match=r"expected a model that is a torch.nn.Module, found str; pass the network"):
        GradCAM("model.pt", ["features.5"])


def test_images_that_are_no_float_tensor_of_the_model(model, images):
    cam = GradCAM(model, LAYERS)
    with pytest.raises(
        ValueError, match=r"expected images as a tensor .* found ndarray; for NumPy, pass torch.from_numpy\(images\)"
    ):
        cam(images.numpy())
    for dtype in (torch.uint8, torch.int16, torch.bool, torch.complex64):
        with pytest.raises(ValueError, match=rf"expected floating-point images, .* found {dtype}; .*float\(\) / 255"):
            cam(images.to(dtype))
    with pytest.raises(ValueError, match=r"expected images on the device of the model, cpu, found meta; move them"):
        cam(images.to("meta"))


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_images_of_other_types_and_memory(cam_class, model, images):
    expected = cam_class(model, ["features.5"])(images, 1)
    torch.testing.assert_close(cam_class(model, ["features.5"])(images.double(), 1), expected)
    shared = torch.from_numpy(np.ascontiguousarray(images.numpy()))
    torch.testing.assert_close(cam_class(model, ["features.5"])(shared, 1), expected)


@pytest.mark.parametrize("cam_class", [GradCAM, FullGrad])
def test_volumes_in_memory_of_numpy(cam_class):  # torch cannot clone it lazily
    model = nn.Sequential(nn.Conv3d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 2))
    volumes = torch.rand(2, 1, 5, 6, 7)
    cam = cam_class(model, ["0"])
    torch.testing.assert_close(cam(torch.from_numpy(volumes.numpy()), 1), cam(volumes, 1))


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


class Gives(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.conv, self.way = nn.Conv2d(2, 4, 3, padding=1), way

    def forward(self, images: Tensor) -> object:
        x = self.conv(images)
        return {"pair": (x, None), "named": Named(x, 3), "list": [x], "two": (x, x.relu()), "dict": {"x": x}}[self.way]


class OfGives(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.layer, self.head = Gives(way), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        output = self.layer(images)
        x = output["x"] if isinstance(output, dict) else output[0]
        return self.head(x.relu().mean(dim=(2, 3)))


@pytest.mark.parametrize("way", ["pair", "named", "list"])
@pytest.mark.parametrize("cam_class", [GradCAM, LayerCAM, LTGradCAM, ScoreCAM, AblationCAM, CfdCAM])
def test_layers_that_return_one_tensor_among_others(cam_class, way, images):
    model = OfGives(way)
    expected = cam_class(model, ["layer.conv"])(images, 1)
    torch.testing.assert_close(cam_class(model, ["layer"])(images, 1), expected)


@pytest.mark.parametrize(("way", "found"), [("two", "tuple"), ("dict", "dict")])
def test_layers_that_return_several_tensors(way, found, images):
    for cam_class in (GradCAM, ScoreCAM, AblationCAM):
        with pytest.raises(
            ValueError, match=rf"expected layer 'layer' to return one tensor .* found {found}; .* inside 'layer'"
        ):
            cam_class(OfGives(way), ["layer"])(images)


class Regroups(nn.Module):
    """Runs its layer on each channel as an image of its own, or on the mean of the batch."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.conv, self.head, self.way = nn.Conv2d(1, 4, 3), nn.Linear(4, 3), way

    def forward(self, images: Tensor) -> Tensor:
        if self.way == "mean":
            return self.head(self.conv(images.mean(dim=(0, 1), keepdim=True)).mean(dim=(2, 3))).expand(len(images), -1)
        x = self.conv(images.flatten(0, 1)[:, None]).mean(dim=(2, 3))
        return self.head(x.view(len(images), -1, 4).mean(dim=1))


@pytest.mark.parametrize(("way", "found"), [("mean", 1), ("channels", 8)])
def test_layers_that_do_not_run_on_the_images(way, found, images):
    with pytest.raises(ValueError, match=rf"of layer 'conv' with B = 4 .* found \({found}, 4, 6, 8\)"):
        GradCAM(Regroups(way), ["conv"])(images)
    with pytest.raises(ValueError, match=rf"expected layer 'conv' to run on one sample per image, found {found} for 4"):
        FullGrad(Regroups(way))(images)


def test_full_grad_of_a_layer_that_does_not_see_the_images(images):
    class Positions(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.position = nn.Conv2d(1, 2, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            grid = torch.linspace(0, 1, 80).view(1, 1, 8, 10).expand(len(images), -1, -1, -1)
            return super().forward(images * self.position(grid))

    model = Positions().eval()
    expected = FullGrad(model)(images, 1)
    torch.testing.assert_close(FullGrad(model.requires_grad_(False))(images, 1), expected)


def test_cam_of_a_model_without_gradients(model, images):
    expected = CAM(model, ["features.5"])(images, 1)
    frozen = Frozen().eval()
    frozen.load_state_dict(model.state_dict())
    frozen.way = "inference_mode"
    torch.testing.assert_close(CAM(frozen, ["features.5"])(images, 1), expected)
