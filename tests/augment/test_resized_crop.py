from __future__ import annotations

import pytest
import torch
from monai.transforms import RandScaleCrop
from torch.nn.functional import interpolate
from torchvision.transforms import RandomResizedCrop as Peer

from camtools.augment import RandomResizedCrop, RandomScaleCrop


def draws(crop: RandomResizedCrop | RandomScaleCrop, count: int) -> torch.Tensor:
    return torch.rand(count, crop.draws, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("crop", [RandomResizedCrop((20, 12), (0.2, 1.0)), RandomScaleCrop((9, 40), (0.4, 1.0))])
def test_equals_interpolation_of_the_crop(crop: RandomResizedCrop | RandomScaleCrop) -> None:
    frame = torch.tensor([[16, 24], [10, 30], [24, 11], [24, 30]]).repeat(10, 1)
    inside = (torch.arange(24) < frame[:, :1])[:, None, :, None] & (torch.arange(30) < frame[:, 1:])[:, None, None]
    image = torch.rand(40, 2, 24, 30) * inside
    uniform = draws(crop, 40)
    batch = {"image": image, "label": image.clone(), "frame": frame}
    found = crop(batch, uniform)
    assert torch.equal(found["image"], found["label"])
    boxes, centred = crop._box(frame.double(), uniform)
    for k in range(40):
        height, width = (int(side) for side in boxes[k])
        room = frame[k] - boxes[k].long()
        offset = [int(uniform[k, crop.boxes + axis] * (int(room[axis]) + 1)) for axis in range(2)]
        if centred[k]:
            offset = [int(side) // 2 for side in room]
        part = image[k : k + 1, :, offset[0] : offset[0] + height, offset[1] : offset[1] + width]
        expected = interpolate(part, crop.size, mode="bilinear", align_corners=False)[0]
        flips = [axis + 1 for axis in range(2) if uniform[k, crop.boxes + 2 + axis] < 0.5]
        torch.testing.assert_close(found["image"][k], expected.flip(flips), atol=5e-5, rtol=0)


@pytest.mark.parametrize("shape", [(40, 50), (10, 60)])
def test_boxes_are_those_of_torchvision(shape: tuple[int, int]) -> None:
    """Means and deviations of heights and widths, also where tries fail."""
    crop = RandomResizedCrop(8, (0.3, 1.0))
    boxes, _ = crop._box(torch.tensor([shape]).double().expand(4000, 2), draws(crop, 4000))
    torch.manual_seed(0)
    image = torch.zeros(1, *shape)
    theirs = torch.tensor([Peer.get_params(image, [0.3, 1.0], [3 / 4, 4 / 3])[2:] for _ in range(4000)]).double()
    torch.testing.assert_close(boxes.mean(0), theirs.mean(0), atol=0.35, rtol=0)
    torch.testing.assert_close(boxes.std(0), theirs.std(0), atol=0.35, rtol=0)


@pytest.mark.parametrize("shape", [(4, 40), (40, 4)])
def test_fallback_is_that_of_torchvision(shape: tuple[int, int]) -> None:
    crop = RandomResizedCrop(8, (0.9, 1.0))
    boxes, centred = crop._box(torch.tensor([shape]).double(), draws(crop, 1))
    assert bool(centred[0])
    theirs = Peer.get_params(torch.zeros(1, *shape), [0.9, 1.0], [3 / 4, 4 / 3])
    assert boxes[0].tolist() == list(theirs[2:])
    assert [int((side - box) // 2) for side, box in zip(shape, boxes[0].tolist(), strict=True)] == list(theirs[:2])


def test_sides_are_those_of_monai() -> None:
    crop = RandomScaleCrop(8, (0.45, 1.0))
    boxes, _ = crop._box(torch.tensor([[20, 31]]).double().expand(4000, 2), draws(crop, 4000))
    monai = RandScaleCrop(0.45, 1.0, random_size=True)
    monai.set_random_state(0)
    theirs = torch.tensor([monai(torch.zeros(1, 20, 31)).shape[1:] for _ in range(2000)]).double()
    assert boxes.amin(0).tolist() == theirs.amin(0).tolist() == [9, 14]
    assert boxes.amax(0).tolist() == theirs.amax(0).tolist() == [20, 31]
    torch.testing.assert_close(boxes.mean(0), theirs.mean(0), atol=0.5, rtol=0)
    assert abs(float(torch.corrcoef(boxes.T)[0, 1])) < 0.05


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="Expected area as two numbers"):
        RandomResizedCrop(8, (0.5, 1.5))
    with pytest.raises(ValueError, match="Expected ratio as two numbers"):
        RandomResizedCrop(8, ratio=(2, 1))
    with pytest.raises(ValueError, match="Expected scale as two numbers"):
        RandomScaleCrop(8, (0.0, 1.0))
