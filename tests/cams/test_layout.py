"""How outputs of layers are read: several tensors, other orders of the axes, a reshape."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import ConvNeXt, VisionTransformer
from torchvision.models.convnext import CNBlockConfig

from camtools.cams import (
    AblationCAM,
    CfdCAM,
    FullGrad,
    GradCAM,
    LayerCAM,
    LTGradCAM,
    ScoreCAM,
    Tokens,
    channels_first,
    channels_last,
)
from tests.cam_models import Classifier
from tests.cams.transformers import CLASSES, VIT_LAYERS, randomised, swin
from tests.reference.cams import reference_bilinear
from tests.reference.gradient_maps import (
    reference_grad_cam_map,
)
from tests.reference.token_maps import (
    output_and_gradient,
    spatial_from_last,
)


@pytest.fixture
def vit() -> nn.Module:
    return randomised(VisionTransformer(32, 8, 2, 2, 12, 16, num_classes=3))


@pytest.fixture
def squares() -> Tensor:
    """Images of the size that the transformers need."""
    return torch.rand(2, 3, 32, 32).double()


Named = namedtuple("Named", "logits aux")


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


@pytest.mark.parametrize(
    ("patch", "width", "layer"), [(4, 8, "features.0.2"), (4, 8, "features.1"), (8, 4, "features.1.0.mlp")]
)
def test_channels_are_found_where_all_sizes_are_equal(patch, width, layer, squares):
    model = swin(patch, width)  # (B, 8, 8, 8) or (B, 4, 4, 4)
    (found,) = GradCAM(model, [layer])(squares[:1], 1)
    pair = map(spatial_from_last, output_and_gradient(model, layer, squares[0], 1))
    expected = reference_bilinear(reference_grad_cam_map(*pair), 32, 32)
    torch.testing.assert_close(found[0], expected.float(), rtol=1e-5, atol=1e-6)


def test_layers_of_both_layouts_in_one_model(squares):
    model = randomised(ConvNeXt([CNBlockConfig(8, None, 2)], num_classes=3, stochastic_depth_prob=0.0))
    block = "features.1.0.block"
    for layer in ("features.0", f"{block}.0", f"{block}.2", f"{block}.4", f"{block}.6", "features.1"):  # (B, 8, 8, 8)
        activation, gradient = output_and_gradient(model, layer, squares[0], 1)
        if layer in (f"{block}.2", f"{block}.4"):  # between the two permutes
            activation, gradient = spatial_from_last(activation), spatial_from_last(gradient)
        expected = reference_bilinear(reference_grad_cam_map(activation, gradient), 32, 32)
        found = GradCAM(model, [layer])(squares[:1], 1)[0, 0]
        torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-6, msg=layer)


@pytest.mark.parametrize("cam_class", CLASSES)
def test_reshape_of_the_users_own(cam_class, vit, squares):
    def reshape(tokens: Tensor) -> Tensor:  # as in pytorch-grad-cam
        return tokens[:, 1:].reshape(len(tokens), 4, 4, tokens.shape[2]).transpose(2, 3).transpose(1, 2)

    maps = cam_class(vit, VIT_LAYERS, reshape=reshape)(squares, 1)
    torch.testing.assert_close(maps, cam_class(vit, VIT_LAYERS, reshape=Tokens())(squares, 1))


def test_tokens_without_reshape(vit, squares):
    with pytest.raises(
        ValueError, match=r"layer .* found \(2, 17, 12\); .* for tokens \(B, N, C\) pass reshape=Tokens"
    ):
        GradCAM(vit, VIT_LAYERS)(squares, 1)


class Odd(nn.Module):
    """A layer in a layout of its own."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.conv, self.layer, self.way = nn.Conv2d(3, 8, 4, stride=4), nn.Identity(), way

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)
        if self.way == "windows":
            x = x.unflatten(2, (2, 4)).unflatten(4, (2, 4)).permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(1, 2)
        elif self.way == "transposed":
            x = x.transpose(2, 3)
        elif self.way == "middle":
            x = x.transpose(1, 2)
        elif self.way == "hidden":  # torch does not see NumPy
            x = x + torch.from_numpy(x.detach().numpy() * 0).to(x)
            x = torch.from_numpy(x.detach().numpy())
        x = self.layer(x)
        return x.flatten(1)[:, :3]


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("windows", r"expected layer 'layer' to hold one value per position .* \(2, 4, 16, 8\)"),
        ("transposed", r"expected layer 'layer' to hold one value per position .* \(2, 8, 8, 8\)"),
        (
            "middle",
            r"found its channels on axis 2 of \(2, 8, 8, 8\); pass reshape=lambda output: output.movedim\(2, 1\)",
        ),
        (
            "hidden",
            r"layer 'layer', found \(2, 8, 8, 8\) for .* which fits both layouts; pass reshape=",
        ),
    ],
)
def test_layouts_that_would_give_a_wrong_map_are_refused(way, message, squares):
    model = Odd(way).double()
    for cam_class in CLASSES:
        with pytest.raises(ValueError, match=message):
            cam_class(model, ["layer"])(squares, 1)
    plain = ScoreCAM(Odd("plain").double(), ["layer"])
    plain.model.load_state_dict(model.state_dict())
    if way == "middle":
        maps = ScoreCAM(model, ["layer"], reshape=lambda output: output.movedim(2, 1))(squares)
        assert maps.shape == (2, 1, 32, 32)
    if way == "hidden":
        maps = ScoreCAM(model, ["layer"], reshape=channels_first)(squares, 1)
        torch.testing.assert_close(maps, plain(squares, 1))


def test_reshape_that_does_not_fit(vit, squares):
    with pytest.raises(
        ValueError, match=r"expected a reshape that reads layer .* of shape \(2, 17, 12\), found an error: "
    ):
        GradCAM(vit, VIT_LAYERS, reshape=lambda output: output.view(1, 2, 3))(squares)
    with pytest.raises(ValueError, match=r"expected activations .* found \(2, 12, 17\) from its output \(2, 17, 12\)"):
        GradCAM(vit, VIT_LAYERS, reshape=channels_last)(squares)
    with pytest.raises(ValueError, match=r"expected tokens \(B, N, C\) of layer 'heads', found \(2, 3\)"):
        GradCAM(vit, ["heads"], reshape=Tokens())(squares)
