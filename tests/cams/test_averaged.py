from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from camtools.cams import AveragedMaps, LayerCAM, MirroredMaps, MultiScaleMaps
from camtools.networks import VGG16CAM


def slow_reference(cam: LayerCAM, images: Tensor) -> Tensor:
    plain = cam(images, target=1)
    result = torch.zeros_like(plain)
    for image in range(plain.shape[0]):
        for layer in range(plain.shape[1]):
            peak = plain[image, layer].max()
            views = [plain[image, layer] / peak]
            for axis in (0, 1):
                mirrored = cam(images[image : image + 1].flip(axis + 2), target=1)[0, layer]
                views.append((mirrored / mirrored.max()).flip(axis))
            result[image, layer] = peak * sum(views) / 3
    return result


def test_average_of_the_image_and_its_mirror_images() -> None:
    torch.manual_seed(0)
    network = VGG16CAM(width=0.0625).eval()
    cam = LayerCAM(network, network.cam_layers[-2:])
    images = torch.rand(3, 1, 32, 40)
    mirrored = MirroredMaps(cam)
    torch.testing.assert_close(mirrored(images, target=1), slow_reference(cam, images), rtol=1e-3, atol=1e-6)
    assert mirrored.layers == tuple(cam.layers)
    assert mirrored.model is network


def test_mirrored_images_have_mirrored_maps() -> None:
    torch.manual_seed(0)
    network = VGG16CAM(width=0.0625).eval()
    mirrored = MirroredMaps(LayerCAM(network, network.cam_layers[-1:]), axes=(-1,))
    images = torch.rand(1, 1, 32, 32)
    maps, flipped = mirrored(images, target=1), mirrored(images.flip(-1), target=1).flip(-1)
    torch.testing.assert_close(maps / maps.max(), flipped / flipped.max())


def test_a_map_of_zeros_stays_zero() -> None:
    assert not MirroredMaps(lambda images, target=None: 0 * images)(torch.rand(2, 1, 4, 4)).any()


def test_average_over_networks() -> None:
    torch.manual_seed(0)
    cams = []
    for _ in range(3):
        network = VGG16CAM(width=0.0625).eval()
        cams.append(LayerCAM(network, network.cam_layers[-2:]))
    images = torch.rand(2, 1, 32, 40)
    maps = [cam(images, target=1) for cam in cams]
    expected = torch.zeros_like(maps[0])
    for image in range(2):
        for layer in range(2):
            shares = [one[image, layer] / one[image, layer].max() for one in maps]
            expected[image, layer] = maps[0][image, layer].max() * sum(shares) / 3
    averaged = AveragedMaps(cams)
    torch.testing.assert_close(averaged(images, target=1), expected)
    assert averaged.model is cams[0].model
    with pytest.raises(ValueError, match="makers: expected at least one maker of maps, found none"):
        AveragedMaps([])


def test_average_over_sizes() -> None:
    torch.manual_seed(0)
    network = VGG16CAM(width=0.0625).eval()
    cam = LayerCAM(network, network.cam_layers[-2:])
    images = torch.rand(2, 1, 32, 40)
    own = cam(images, target=1)
    large = cam(F.interpolate(images, (48, 60), mode="bilinear"), target=1)
    small = cam(F.interpolate(images, (16, 20), mode="bilinear", antialias=True), target=1)
    peaks = own.amax((2, 3), keepdim=True)
    total = own / peaks
    for maps in (large, small):
        resized = F.interpolate(maps, (32, 40), mode="bilinear")
        total = total + resized / resized.amax((2, 3), keepdim=True)
    torch.testing.assert_close(MultiScaleMaps(cam, [1.0, 1.5, 0.5])(images, target=1), total * peaks / 3)


@pytest.mark.parametrize("scales", [(), (1.0, 0.0)])
def test_sizes_that_cannot_be(scales: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="scales: expected one or more positive numbers, found"):
        MultiScaleMaps(lambda images, target=None: images, scales)
