from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from camtools.cams import (
    FullGrad,
    GradCAM,
    grad_cam,
)
from tests.cam_models import CAM_CLASSES, LAYER_CLASSES, LAYERS, Classifier
from tests.cams.test_capture import state
from tests.reference.cams import reference_grad_cam


@pytest.fixture
def model() -> Classifier:
    return Classifier()


@pytest.fixture
def expected(model, images) -> Tensor:
    """Maps of target 1, computed once in double precision."""
    return GradCAM(copy.deepcopy(model).double(), LAYERS)(images, target=1)


def test_layers_in_any_order_and_repeated(model, images, expected):
    maps = GradCAM(model, [LAYERS[2], LAYERS[0], LAYERS[2]])(images, target=1)
    torch.testing.assert_close(maps, expected[:, [2, 0, 2]])


def test_unknown_layer_lists_near_names(model):
    with pytest.raises(
        ValueError, match=r"expected the name of a layer of Classifier, found 'feature.5'; near names: features.5, "
    ):
        GradCAM(model, ["feature.5"])
    with pytest.raises(ValueError, match=r"found 'zzz'; near names: .*unused, head"):
        GradCAM(model, ["zzz"])


@pytest.mark.parametrize("layers", [[], "features.5"])
def test_layers_must_be_a_list_of_names(model, layers):
    with pytest.raises(ValueError, match=r"expected layers as a list of layer names, found .* layers=\['NAME'\]"):
        GradCAM(model, layers)


@pytest.mark.parametrize("cam_class", LAYER_CLASSES)
def test_layer_that_never_runs(cam_class, model, images):
    with pytest.raises(
        ValueError, match="expected layer 'unused' to run in the forward pass, found that it did not; choose a layer"
    ):
        cam_class(model, ["features.5", "unused"])(images)


@pytest.mark.parametrize("cam_class", LAYER_CLASSES)
def test_layer_that_runs_twice(cam_class, images):
    model = Classifier()
    model.features[5] = model.features[1]
    with pytest.raises(
        ValueError, match=r"expected layer 'features.1' to run once per forward pass, found a second run"
    ):
        cam_class(model, ["features.1"])(images)


def test_layer_without_spatial_activations(model, images):
    with pytest.raises(
        ValueError, match=r"expected layer 'head' to return one tensor .* 4 dimensions .* found \(4, 3\)"
    ):
        GradCAM(model, ["head"])(images)


class Branches(nn.Module):
    """Two parallel branches, one of which does not reach the logits when ``cut``."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)
        self.cut = cut

    def forward(self, images: Tensor) -> Tensor:
        left, right = self.left(images).relu(), self.right(images).relu()
        return (left if self.cut else left * right).mean(dim=(2, 3))


@pytest.mark.parametrize("frozen", [True, False])
def test_parallel_layers(frozen, images):
    model = Branches(cut=False).requires_grad_(not frozen)
    maps = GradCAM(model, ["left", "right"])(images, target=1)
    single = torch.cat([GradCAM(model, [layer])(images, target=1) for layer in ("left", "right")], dim=1)
    torch.testing.assert_close(maps, single)
    assert (maps.amax(dim=(2, 3)) > 0).any(dim=0).all()


def test_layer_that_does_not_reach_the_logits(images):
    with pytest.raises(ValueError, match="no gradient reaches layer 'right': the logits do not depend on it"):
        GradCAM(Branches(cut=True), ["left", "right"])(images, target=1)
    with pytest.raises(ValueError, match="no gradient reaches right: the logits do not depend on it"):
        GradCAM(Branches(cut=True).requires_grad_(False), ["right"])(images, target=1)


@pytest.mark.parametrize("layers", [["features.0", "features.4"], ["features.4"], ["features.0", "features.1"]])
@pytest.mark.parametrize("frozen", [True, False])
def test_in_place_relu_after_a_layer(layers, frozen, model, images):
    inplace = Classifier(inplace=True).requires_grad_(not frozen)
    inplace.load_state_dict(model.state_dict())
    torch.testing.assert_close(GradCAM(inplace, layers)(images, 1), GradCAM(model, layers)(images, 1))


@pytest.mark.parametrize("inplace", [True, False])
def test_activation_is_safe_from_writes_to_what_it_aliases(inplace, images):
    class Alias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.drop = nn.Conv2d(2, 3, 3), nn.Dropout()  # in evaluation mode, dropout returns its input

        def forward(self, images: Tensor) -> Tensor:
            features = self.stem(images)
            dropped = self.drop(features)
            features = features.mul_(0) if inplace else features * 0
            return (dropped.clone() + features).mean(dim=(2, 3))

    torch.manual_seed(1)
    model = Alias()
    activation = model.stem(images)
    expected = grad_cam(activation, torch.zeros_like(activation).index_fill(1, torch.tensor([2]), 1 / 48))
    maps = GradCAM(model, ["drop"])(images, target=2)
    torch.testing.assert_close(
        maps, nn.functional.interpolate(expected, size=(8, 10), mode="bilinear", align_corners=False)
    )


@pytest.mark.parametrize("track", [True, False])
def test_instance_norm(track, images):
    model = Classifier(norm=lambda channels: nn.InstanceNorm2d(channels, affine=True, track_running_stats=track))
    maps = GradCAM(model, LAYERS)(images, 1)
    expected = reference_grad_cam(model.double().eval(), "features.3", images[2].double(), 1)
    torch.testing.assert_close(maps[2, 1], expected.float(), rtol=1e-4, atol=1e-6)


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
