"""Vision transformers: torchvision's ViT and Swin, MONAI's ViT and SwinUNETR, exact against slow references."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import SwinUNETR
from monai.networks.nets import ViT as MonaiViT
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from camtools.cams import (
    CAM,
    AblationCAM,
    CfdCAM,
    GradCAM,
    GradCAMpp,
    LayerCAM,
    LTGradCAM,
    LTLayerCAM,
    ScoreCAM,
    Tokens,
    XGradCAM,
    channels_last,
)
from tests.cams.transformers import CLASSES, VIT_LAYERS, randomised, swin
from tests.reference.cams import reference_bilinear
from tests.reference.gradient_maps import (
    reference_grad_cam_map,
    reference_grad_cam_pp,
    reference_layer_cam,
    reference_truncate,
    reference_xgrad_cam,
)
from tests.reference.token_maps import (
    output_and_gradient,
    reference_token_ablation_cam,
    reference_token_cfd_cam,
    reference_token_score_cam,
    spatial_from_last,
    spatial_from_tokens,
)

GRADIENT_REFERENCES = {
    GradCAM: reference_grad_cam_map,
    GradCAMpp: reference_grad_cam_pp,
    XGradCAM: reference_xgrad_cam,
    LayerCAM: reference_layer_cam,
    LTGradCAM: lambda f, g: reference_grad_cam_map(f, truncated(g)),
    LTLayerCAM: lambda f, g: reference_layer_cam(f, truncated(g)),
}


def truncated(gradient: Tensor) -> Tensor:
    return reference_truncate(gradient, 20)


@pytest.fixture
def vit() -> nn.Module:
    return randomised(VisionTransformer(32, 8, 2, 2, 12, 16, num_classes=3))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 32, 32).double()


SWIN_LAYERS = [
    "features.0",
    "features.1",
    "features.1.0.norm1",
    "features.1.1.attn",
    "features.2",
    "features.3",
    "norm",
]


@pytest.mark.parametrize("cam_class", GRADIENT_REFERENCES)
@pytest.mark.parametrize("layer", SWIN_LAYERS)
def test_swin_matches_reference_without_being_told(cam_class, layer, images):
    model, targets = swin(), torch.tensor([2, 0])
    maps = cam_class(model, [layer])(images, targets)
    for image, target, found in zip(images, targets.tolist(), maps, strict=True):
        pair = map(spatial_from_last, output_and_gradient(model, layer, image, target))
        expected = reference_bilinear(GRADIENT_REFERENCES[cam_class](*pair), 32, 32)
        torch.testing.assert_close(found[0], expected.float(), rtol=1e-5, atol=1e-6)
    assert maps.any()
    told = cam_class(model, [layer], reshape=channels_last)(images, targets)
    torch.testing.assert_close(told, maps, rtol=0, atol=0)


@pytest.mark.parametrize("cam_class", GRADIENT_REFERENCES)
@pytest.mark.parametrize("layer", VIT_LAYERS)
@pytest.mark.parametrize("reshape", [Tokens(), Tokens(grid=(4, 4)), Tokens(patch_size=8, extra=1)])
def test_vit_matches_reference(cam_class, layer, reshape, vit, images):
    # a map may be empty for one class, where every weight is negative, and not for both
    cam = cam_class(vit, [layer], reshape=reshape)
    for target, maps in ((0, cam(images, 0)), (1, cam(images, 1))):
        for image, found in zip(images, maps, strict=True):
            activation, gradient = output_and_gradient(vit, layer, image, target)
            pair = (spatial_from_tokens(values, (4, 4)) for values in (activation, gradient))
            expected = reference_bilinear(GRADIENT_REFERENCES[cam_class](*pair), 32, 32)
            torch.testing.assert_close(found[0], expected.float(), rtol=1e-5, atol=1e-6)
    assert cam(images, 0).any() or cam(images, 1).any()


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_methods_that_change_the_image_or_a_channel_match_reference(kind, vit, images):
    model, layer = (vit, VIT_LAYERS[1]) if kind == "vit" else (swin(), "features.3.0")

    def read(values: Tensor) -> Tensor:
        return spatial_from_tokens(values, (4, 4)) if kind == "vit" else spatial_from_last(values)

    reshape = Tokens() if kind == "vit" else None
    image = images[0]
    activation, _ = output_and_gradient(model, layer, image, 1)
    for cam_class, reference in (
        (ScoreCAM, reference_token_score_cam(model, activation, image, 1, read)),
        (AblationCAM, reference_token_ablation_cam(model, layer, activation, image, 1, read)),
    ):
        found = cam_class(model, [layer], reshape=reshape)(image[None], 1)[0, 0]
        torch.testing.assert_close(found, reference_bilinear(reference, 32, 32).float(), rtol=1e-4, atol=1e-6)
    cam = CfdCAM(model, [layer], scales=(1.0,), scale_by_confidence=False, reshape=reshape)
    expected = reference_token_cfd_cam(model, activation, image, 1, read)
    torch.testing.assert_close(cam(image[None], 1)[0, 0], expected.float(), rtol=1e-4, atol=1e-5)


def test_cam_of_swin_is_grad_cam_times_the_number_of_positions(images):
    model = swin()
    torch.testing.assert_close(CAM(model, ["norm"])(images, 1), 4 * 4 * GradCAM(model, ["norm"])(images, 1))


@pytest.mark.parametrize("cam_class", CLASSES)
def test_batched_equals_single(cam_class, vit):
    images = torch.rand(3, 3, 32, 32).double()
    cam = cam_class(vit, VIT_LAYERS, reshape=Tokens())
    single = torch.cat([cam(image[None], 1) for image in images])
    torch.testing.assert_close(cam(images, 1), single)


class Pooled(nn.Module):
    """Logits of an encoder that returns the maps of its stages."""

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images)[-1].flatten(2).mean(dim=2))


@pytest.mark.parametrize("dims", [2, 3])
def test_swin_unetr(dims):
    torch.manual_seed(0)
    network = SwinUNETR(1, 2, feature_size=12, spatial_dims=dims, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2))
    model = randomised(Pooled(network.swinViT, 192))
    size = (64, 96) if dims == 2 else (32, 64, 32)
    images = torch.rand(1, 1, *size).double()
    for layer in ("encoder.layers1.0.blocks.0", "encoder.layers2.0.blocks.0.norm1", "encoder.layers2.0.downsample"):
        activation, gradient = (spatial_from_last(v) for v in output_and_gradient(model, layer, images[0], 1))
        expected = reference_grad_cam_map(activation, gradient)[None, None]
        mode = "bilinear" if dims == 2 else "trilinear"
        expected = nn.functional.interpolate(expected, size=size, mode=mode, align_corners=False)
        maps = GradCAM(model, [layer])(images, 1)
        torch.testing.assert_close(maps, expected.float(), rtol=1e-5, atol=1e-6, msg=layer)
        assert maps.any()
    first = GradCAM(model, ["encoder.layers1.0"])(images, 1)  # MONAI turns the axes back at the end of a stage
    activation, gradient = output_and_gradient(model, "encoder.layers1.0", images[0], 1)
    coarse = reference_grad_cam_map(activation, gradient)[None, None]
    expected = nn.functional.interpolate(coarse, size=size, mode=mode, align_corners=False)
    torch.testing.assert_close(first, expected.float(), rtol=1e-5, atol=1e-6)


class FirstOutput(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images)[0]


@pytest.mark.parametrize("proj", ["conv", "perceptron"])
@pytest.mark.parametrize(("size", "patch", "grid"), [((32, 48), (8, 8), (4, 6)), ((16, 16, 8), (8, 4, 4), (2, 4, 2))])
def test_monai_vit(proj, size, patch, grid):
    torch.manual_seed(0)
    inner = MonaiViT(1, size, patch, 12, 16, 2, 2, proj, classification=True, num_classes=3, spatial_dims=len(size))
    inner.classification_head = nn.Linear(12, 3)
    model, images = randomised(FirstOutput(inner)), torch.rand(1, 1, *size).double()
    layer = "inner.blocks.1.norm1"
    mode = "bilinear" if len(size) == 2 else "trilinear"
    cam, found = GradCAM(model, [layer], reshape=Tokens()), []  # the grid is seen, patches need not be square
    for target in range(3):
        pair = (spatial_from_tokens(v, grid) for v in output_and_gradient(model, layer, images[0], target))
        coarse = reference_grad_cam_map(*pair)[None, None]
        expected = nn.functional.interpolate(coarse, size=size, mode=mode, align_corners=False)
        found.append(cam(images, target))
        torch.testing.assert_close(found[-1], expected.float(), rtol=1e-5, atol=1e-6)
    assert torch.cat(found).any()


class SequenceFirst(nn.Module):
    """torch's own transformer, (N, B, C), with register tokens."""

    def __init__(self, registers: int, batch_first: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 8, stride=8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.top = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.registers = nn.Parameter(torch.randn(registers, 1, 8))
        self.head = nn.Linear(8, 3)
        self.batch_first = batch_first

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.stem(images).flatten(2).permute(2, 0, 1)
        tokens = torch.cat([self.registers.expand(-1, len(images), -1), tokens])
        if self.batch_first:
            return self.head(self.top(self.block(tokens.transpose(0, 1)))[:, 0])
        return self.head(self.top(self.block(tokens))[0])


@pytest.mark.parametrize("cam_class", CLASSES)
@pytest.mark.parametrize("count", [2, 21])  # of images; with 21, both axes have the same length
def test_sequence_first(cam_class, count):
    first, second = SequenceFirst(5).double().eval(), SequenceFirst(5, batch_first=True).double().eval()
    second.load_state_dict(first.state_dict())
    images = torch.rand(count, 3, 32, 32).double()
    expected = cam_class(second, ["block"], reshape=Tokens())(images, 1)
    torch.testing.assert_close(cam_class(first, ["block"], reshape=Tokens(batch_first=False))(images, 1), expected)
    assert expected.any()
    with pytest.raises(ValueError, match=r"expected layer 'block' to hold the B = .* images on axis 0, .*first=False"):
        cam_class(first, ["block"], reshape=Tokens())(images, 1)


def test_ablation_needs_whole_channels(vit, images):
    def halves(tokens: Tensor) -> Tensor:
        return (tokens[:, 1:, :6] + tokens[:, 1:, 6:]).reshape(len(tokens), 4, 4, 6).permute(0, 3, 1, 2) / 3

    assert GradCAM(vit, VIT_LAYERS, reshape=halves)(images, 1).shape == (2, 2, 32, 32)
    with pytest.raises(ValueError, match=r"expected a reshape of layer .* that keeps its channels, found one"):
        AblationCAM(vit, VIT_LAYERS, reshape=halves)(images, 1)


def test_tokens_leave_other_layers_of_the_list_alone(vit, images):
    maps = GradCAM(vit, ["conv_proj", VIT_LAYERS[0]], reshape=Tokens())(images, 1)
    torch.testing.assert_close(maps[:, :1], GradCAM(vit, ["conv_proj"])(images, 1))


@pytest.mark.parametrize("layer", ["encoder.layers.encoder_layer_1", "encoder.ln"])
def test_layers_of_which_only_the_class_token_counts(layer, vit, images):
    with pytest.raises(
        ValueError, match=r"no gradient reaches the patches of layer .* class token only; choose a layer"
    ):
        GradCAM(vit, [layer], reshape=Tokens())(images, 1)
    assert ScoreCAM(vit, [layer], reshape=Tokens())(images, 1).any()  # which asks for no gradient


def test_tokens_by_hand():
    tokens = torch.arange(14.0).view(1, 7, 2)
    assert Tokens(grid=(2, 3))(tokens)[0, 0].tolist() == [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]
    assert Tokens(patch_size=4)(tokens, (8, 12)).shape == (1, 2, 2, 3)
    assert Tokens(patch_size=4)(tokens, (8, 11)).shape == (1, 2, 2, 3)  # padded to whole patches
    assert Tokens(patch_size=(4, 2))(tokens, (8, 6)).shape == (1, 2, 2, 3)
    assert Tokens()(tokens, (8, 12)).shape == (1, 2, 2, 3)
    assert Tokens()(tokens, (8, 12), [(3, 2)]).shape == (1, 2, 3, 2)  # what was seen is what counts
    assert Tokens(batch_first=False)(tokens.transpose(0, 1), (8, 12)).shape == (1, 2, 2, 3)
    assert Tokens()(torch.zeros(1, 201, 2), (224, 224)).shape == (1, 2, 14, 14)  # four registers and a class token


def test_tokens_that_do_not_fit():
    tokens = torch.zeros(1, 40, 2)
    for reshape, size in ((Tokens(), (32, 32)), (Tokens(grid=(8, 8)), ()), (Tokens(patch_size=4), (32, 32))):
        with pytest.raises(ValueError, match=r"expected tokens of one grid .* found 40 tokens, which fit none .*grid="):
            reshape(tokens, size)
    with pytest.raises(ValueError, match=r"found 17 tokens, which fit none"):
        Tokens(grid=(4, 4), extra=2)(torch.zeros(1, 17, 2))
    with pytest.raises(ValueError, match=r"which fit \[\(2, 4\), \(4, 2\)\]"):
        Tokens()(torch.zeros(1, 9, 2), (32, 32), [(2, 4), (4, 2)])
    with pytest.raises(ValueError, match=r"Tokens reads \(B, N, C\) or \(N, B, C\), found \(1, 2, 3, 4\)"):
        Tokens()(torch.zeros(1, 2, 3, 4))
    with pytest.raises(
        ValueError, match=r"expected a grid and a patch_size of positive numbers .* found grid=\(0, 4\)"
    ):
        Tokens(grid=(0, 4))
    with pytest.raises(ValueError, match=r"expected a patch_size of 2 numbers for images \(8, 8\), found \(2, 2, 2\)"):
        Tokens(patch_size=(2, 2, 2))(tokens, (8, 8))
