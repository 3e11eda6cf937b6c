from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from camtools.cams import FullGrad, LTFullGrad, bias_gradient_map
from camtools.cams.full_grad import bias_layers, layer_bias
from tests.cam_models import Classifier
from tests.reference.full_grad import bias_gradient, reference_psi
from tests.reference.gradient_maps import reference_truncate

LAYERS = ["features.0", "features.3", "features.4"]  # two convolutions and a batch norm


@pytest.fixture
def model() -> Classifier:
    """Classifier whose gradients differ from position to position."""
    model = Classifier().double().eval()
    model.head = nn.Linear(6 * 4 * 5, 3).double()
    model.forward = lambda images: model.head(model.features(images).flatten(1))
    return model


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 2, 8, 10).double()


def biases(model: Classifier) -> dict[str, Tensor]:
    """Written out for this model: those of the convolutions, and beta - gamma mean / std of the batch norm."""
    norm = model.features[4]
    shift = norm.bias - norm.weight * norm.running_mean / (norm.running_var + norm.eps) ** 0.5
    return {"features.0": model.features[0].bias, "features.3": model.features[3].bias, "features.4": shift}


def by_bias(bias: Tensor, gradient: Tensor) -> Tensor:
    return (bias[:, None, None] * gradient).detach()


@pytest.mark.parametrize("normalize", ["channel", "layer"])
@pytest.mark.parametrize("percentile", [None, 0, 40])
def test_maps_match_reference(model, images, normalize, percentile):
    targets = torch.tensor([2, 0])
    cam = (
        FullGrad(model, normalize=normalize)
        if percentile is None
        else LTFullGrad(model, None, percentile, None, normalize)
    )
    maps = cam(images, targets)
    for image, target, found in zip(images, targets.tolist(), maps, strict=True):
        leaf = image.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(leaf[None])[0, target], leaf)
        expected = reference_psi(slope * image, 8, 10, normalize == "layer")
        for layer, bias in biases(model).items():
            gradient = bias_gradient(model, layer, image, target)
            gradient = gradient if percentile is None else reference_truncate(gradient, percentile)
            expected += reference_psi(by_bias(bias, gradient), 8, 10, normalize == "layer")
        torch.testing.assert_close(found[0], expected.float(), rtol=1e-4, atol=1e-5)


def test_full_gradients_add_up_to_the_logit(model, images):
    # completeness: the reason why the method takes exactly these biases
    image = images[0].requires_grad_()
    logit = model(image[None])[0, 1]
    (slope,) = torch.autograd.grad(logit, image)
    total = (slope * image).sum() + model.head.bias[1]
    for layer in bias_layers(model):
        if layer != "unused":
            bias = layer_bias(model.get_submodule(layer))
            total = total + by_bias(bias, bias_gradient(model, layer, image.detach(), 1)).sum()
    torch.testing.assert_close(total, logit, rtol=1e-6, atol=1e-6)


def test_bias_of_every_kind_of_layer():
    plain = nn.BatchNorm2d(2, affine=False).eval()
    plain.running_mean.copy_(torch.tensor([1.0, -2.0]))
    plain.running_var.copy_(torch.tensor([4.0, 1.0]))
    torch.testing.assert_close(layer_bias(plain), torch.tensor([-0.5, 2.0]), atol=1e-5, rtol=1e-5)
    of_batch = nn.BatchNorm2d(2, track_running_stats=False)
    nn.init.constant_(of_batch.bias, 3.0)
    assert layer_bias(of_batch).tolist() == [3.0, 3.0]
    assert layer_bias(nn.Conv2d(1, 2, 3, bias=False)) is None
    model = nn.ModuleDict(
        {
            "bare": nn.Conv2d(1, 2, 3, bias=False),
            "norm": nn.InstanceNorm2d(2, affine=True),
            "plain_norm": nn.InstanceNorm2d(2),
            "group": nn.GroupNorm(1, 2),
            "volume": nn.Conv3d(1, 2, 3),
            "linear": nn.Linear(2, 2),
        }
    )
    assert bias_layers(model) == ["norm", "group", "volume"]


def test_contribution_by_hand():
    gradients = torch.tensor([[[[2.0, -4.0, 0.0]], [[1.0, 2.0, 3.0]], [[5.0, 5.0, 5.0]]]])
    bias = torch.tensor([0.1, -1.0, 7.0])
    torch.testing.assert_close(bias_gradient_map(gradients, bias), torch.tensor([[[[0.5, 1.5, 1.0]]]]))
    # the layer's extremes of |b g| are 0 and 35
    whole = torch.tensor([[[[36.2, 37.4, 38.0]]]]) / 35
    torch.testing.assert_close(bias_gradient_map(gradients, bias, "layer"), whole)
    half = bias_gradient_map(gradients.bfloat16(), bias)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, torch.tensor([[[[0.5, 1.5, 1.0]]]]))


def test_channels_without_bias_or_gradient_count_nothing():
    gradients = torch.rand(2, 3, 4, 5)
    gradients[:, 2] = 0
    alone = bias_gradient_map(gradients[:, :1], torch.ones(1))
    torch.testing.assert_close(bias_gradient_map(gradients, torch.tensor([1.0, 0.0, 1.0])), alone)
    assert not bias_gradient_map(torch.full((1, 2, 3, 3), 1e-44), torch.ones(2)).isnan().any()


def test_batch_equals_single_and_any_chunk(model, images):
    images = torch.rand(5, 2, 8, 10).double()
    maps = FullGrad(model)(images, 1)
    assert maps.shape == (5, 1, 8, 10)
    torch.testing.assert_close(FullGrad(model, batch_size=2)(images, 1), maps)
    torch.testing.assert_close(
        torch.cat([LTFullGrad(model)(image[None], 1) for image in images]), LTFullGrad(model)(images, 1)
    )


def test_some_layers_only(model, images):
    alone = [FullGrad(model, [layer])(images, 1) for layer in LAYERS]
    together = FullGrad(model, LAYERS)(images, 1)
    product = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(product)[:, 1].sum(), product)
    of_input = bias_gradient_map(slope * images, torch.ones(2)).float()
    torch.testing.assert_close(sum(alone) - 2 * of_input, together, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(FullGrad(model)(images, 1), together)  # "unused" does not run


def test_layer_that_runs_twice_counts_twice():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.copy = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
            self.copy.load_state_dict(self.layer.state_dict())
            self.shared = True

        def forward(self, images: Tensor) -> Tensor:
            first = self.layer(images).relu()
            return (self.layer if self.shared else self.copy)(first).square().mean(dim=(2, 3))

    model, images = Twice(), torch.rand(2, 2, 8, 8)
    shared = FullGrad(model, ["layer"])(images, 1)
    model.shared = False
    torch.testing.assert_close(FullGrad(model)(images, 1), shared)


def test_inplace_relu_and_volumes():
    def network(inplace: bool) -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv3d(1, 3, 3, padding=1), nn.ReLU(inplace), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 2)
        )

    volumes = torch.rand(2, 1, 5, 6, 7)
    maps = FullGrad(network(inplace=True))(volumes, 1)
    assert maps.shape == (2, 1, 5, 6, 7)
    assert maps.any()
    torch.testing.assert_close(maps, FullGrad(network(inplace=False))(volumes, 1))


def test_errors(model, images):
    with pytest.raises(
        ValueError, match=r"convolutions or normalisations with a bias, found 'features.1' \(ReLU\(\)\); the model has"
    ):
        FullGrad(model, ["features.1"])
    with pytest.raises(
        ValueError, match="expected layer 'unused' to run, but it did not; choose others, or layers=None"
    ):
        FullGrad(model, ["unused"])(images)
    with pytest.raises(ValueError, match=r"expected normalize='channel' \(papers\) or 'layer' .* found 'all'"):
        FullGrad(model, normalize="all")(images)
    with pytest.raises(ValueError, match=r"expected gradients .* and bias \(K,\), found \(1, 2, 3, 3\) and \(3,\)"):
        bias_gradient_map(torch.zeros(1, 2, 3, 3), torch.zeros(3))
    with pytest.raises(
        ValueError, match="expected a convolution or normalisation with a bias, found none in Sequential; use GradCAM"
    ):
        FullGrad(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    with pytest.raises(ValueError, match=r"expected a percentile in 0..100, found 101"):
        LTFullGrad(model, percentile=101)
