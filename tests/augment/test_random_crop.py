"""One sampling against MONAI's chain of zoom, rotation, flips, padding and crop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Flip, RandSpatialCrop, Rotate, SpatialPad, Zoom

from camtools.augment import RandomCrop

FRAMES = [(24, 31), (40, 33), (12, 45), (45, 45), (32, 32)]


def batch_of(seed: int, channels: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(len(FRAMES), channels, 45, 45)
    label = torch.zeros(len(FRAMES), 1, 45, 45, dtype=torch.int64)
    for k, (height, width) in enumerate(FRAMES):
        image[k, :, :height, :width] = torch.rand(channels, height, width, generator=generator) + 0.1
        label[k, :, :height, :width] = torch.randint(0, 9, (1, height, width), generator=generator)
    return {"image": image, "label": label, "frame": torch.tensor(FRAMES)}


def monai_chain(image: torch.Tensor, crop: RandomCrop, u: list[float], mode: str, pad: dict[str, Any]) -> Any:
    """The chain with the parameters that the uniform numbers stand for."""
    image = image.float()
    zoom = crop.zoom[0] + (crop.zoom[1] - crop.zoom[0]) * u[0]
    if zoom != 1:
        image = Zoom(zoom, mode="nearest-exact" if mode == "nearest" else mode, keep_size=False)(image)
    angle = crop.rotation * (2 * u[2] - 1)
    if u[1] < crop.rotation_prob and angle != 0:
        image = Rotate(angle, mode=mode, padding_mode="zeros")(image)
    for axis in range(2):
        if u[3 + axis] < crop.flip_prob:
            image = Flip(axis)(image)
    image = SpatialPad(crop.size, **pad)(image)
    start = [int(u[5 + axis] * (image.shape[1 + axis] - crop.size[axis] + 1)) for axis in range(2)]
    return image[:, start[0] : start[0] + crop.size[0], start[1] : start[1] + crop.size[1]].numpy()


@pytest.mark.parametrize("size", [(32, 32), (20, 50), (64, 16)])
@pytest.mark.parametrize(
    ("zoom", "rotation"),  # not both: two interpolations in MONAI, one here
    [((1.0, 1.0), 0.0), ((1.0, 1.0), 0.7), ((0.5, 2.0), 0.0)],
)
@pytest.mark.parametrize("padding", ["zeros", "edge"])
def test_equals_monai(size: tuple[int, int], zoom: tuple[float, float], rotation: float, padding: str) -> None:
    batch = batch_of(1)
    crop = RandomCrop(size, rotation, zoom=zoom, padding=padding, label_mode="nearest", label_fill=255 * (not rotation))
    pad = {"mode": "edge"} if padding == "edge" else {}
    for seed in range(4):
        uniform = torch.rand(len(FRAMES), crop.draws, generator=torch.Generator().manual_seed(seed))
        uniform = uniform.double()
        found = crop(batch, uniform)
        for k, (height, width) in enumerate(FRAMES):
            numbers = uniform[k].tolist()
            image = batch["image"][k, :, :height, :width]
            expected = monai_chain(image, crop, numbers, "bilinear", pad)
            np.testing.assert_allclose(found["image"][k].numpy(), expected, atol=5e-5)
            label = batch["label"][k, :, :height, :width]
            expected = monai_chain(label, crop, numbers, "nearest", {"value": crop.label_fill})
            np.testing.assert_array_equal(found["label"][k].numpy(), expected)


def test_label_that_equals_the_image_stays_equal() -> None:
    batch = batch_of(2)
    batch["label"] = batch["image"].clone()
    crop = RandomCrop(32, 0.5)
    found = crop(batch, torch.rand(len(FRAMES), crop.draws, dtype=torch.float64))
    assert torch.equal(found["image"], found["label"])


def test_nearest_labels_keep_their_classes_when_turned_and_zoomed() -> None:
    batch = batch_of(3)
    crop = RandomCrop(40, 0.7, 1.0, zoom=(0.5, 2.0), label_mode="nearest", label_fill=255)
    found = crop(batch, torch.rand(len(FRAMES), crop.draws, dtype=torch.float64))["label"]
    assert found.dtype == torch.int64
    assert set(found.unique().tolist()) <= {*range(9), 255}


def test_a_sample_does_not_depend_on_the_others() -> None:
    batch = batch_of(4)
    crop = RandomCrop(32, 0.5)
    uniform = torch.rand(len(FRAMES), crop.draws, dtype=torch.float64)
    found = crop(batch, uniform)
    for k in range(len(FRAMES)):
        one = crop({key: value[k : k + 1] for key, value in batch.items()}, uniform[k : k + 1])
        torch.testing.assert_close(one["image"][0], found["image"][k], atol=1e-6, rtol=0)


def test_offsets_are_those_of_monai() -> None:
    """Shares of each offset of a 3-pixel crop in 6 pixels, against MONAI's draws."""
    image = torch.arange(6.0).expand(1, 1, 6, 6).expand(4000, 1, 6, 6)
    crop = RandomCrop(3, flip_prob=0.0)
    uniform = torch.rand(4000, crop.draws, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = crop({"image": image}, uniform)["image"][:, 0, 0, 0].round().long().bincount(minlength=4) / 4000
    monai = RandSpatialCrop(3, random_size=False)
    monai.set_random_state(0)
    draws = torch.tensor([int(monai(image[0])[0, 0, 0]) for _ in range(1500)])
    torch.testing.assert_close(ours, draws.bincount(minlength=4) / 1500, atol=0.04, rtol=0)


def test_probabilities_of_flip_and_rotation() -> None:
    image = torch.rand(1, 1, 9, 9).expand(4000, 1, 9, 9)
    uniform = torch.rand(4000, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kept = (RandomCrop(9, flip_prob=0.25)({"image": image}, uniform)["image"] - image).abs().amax((1, 2, 3)) < 1e-5
    assert float(kept.float().mean()) == pytest.approx(0.75**2, abs=0.03)
    turned = RandomCrop(9, 0.5, rotation_prob=0.3, flip_prob=0.0)({"image": image}, uniform)["image"] - image
    assert float((turned.abs().amax((1, 2, 3)) > 1e-4).float().mean()) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "Expected size as a height and a width of 1 or more, found 0"),
        ({"size": (1, 2, 3)}, "Expected size as a height and a width"),
        ({"size": 4, "rotation": -1.0}, "Expected rotation as two numbers in ascending order"),
        ({"size": 4, "rotation_prob": 2.0}, r"Expected rotation_prob in \[0, 1\], found 2.0"),
        ({"size": 4, "flip_prob": -0.1}, r"Expected flip_prob in \[0, 1\], found -0.1"),
        ({"size": 4, "zoom": (2.0, 1.0)}, "Expected zoom as two numbers in ascending order"),
        ({"size": 4, "padding": "wrap"}, "Expected padding 'zeros' or 'edge', found 'wrap'"),
        ({"size": 4, "label_mode": "cubic"}, "Expected label_mode 'bilinear' or 'nearest', found 'cubic'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomCrop(**arguments)  # type: ignore[arg-type]
