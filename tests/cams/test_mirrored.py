from __future__ import annotations

import torch
from torch import Tensor

from camtools.cams import LayerCAM, MirroredMaps
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
