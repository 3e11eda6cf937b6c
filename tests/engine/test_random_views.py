from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtools.engine import RandomViewInferer


class Watched(nn.Module):
    """Returns its input as logits, and notes what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return images


def smooth(height: int, width: int) -> Tensor:
    """Planes that bilinear resizing keeps, away from the border."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([torch.stack([y, x + 2 * y]), torch.stack([x, 1 - y])])


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ({"factors": [0.5], "turns": []}, {(32, 96), (64, 48), (32, 48)}),
        ({"factors": [1.5], "turns": []}, {(96, 96), (64, 144), (96, 144)}),
        ({"factors": [0.75], "turns": [], "multiple": 32}, {(64, 96), (64, 96), (64, 96)}),
        ({"factors": [], "turns": [90, 270]}, {(96, 64)}),
        ({"factors": [], "turns": [180]}, {(64, 96)}),
    ],
)
def test_views_are_brought_back(arguments: dict[str, Any], sizes: set[tuple[int, int]]) -> None:
    torch.manual_seed(0)
    images, network = smooth(64, 96), Watched()
    inferer = RandomViewInferer(**arguments)
    for _ in range(12):
        logits = inferer(images, network)
        assert logits.shape == (2, 2, 2, 64, 96)
        inner = (logits - images[:, None])[..., 4:-4, 4:-4]
        assert inner.abs().max() < 0.02
    assert {tuple(seen.shape[2:]) for seen in network.seen} == sizes


def test_every_view_is_drawn_and_repeats_with_the_seed() -> None:
    network, images = Watched(), smooth(32, 48)

    def draws() -> list[tuple[int, ...]]:
        torch.manual_seed(3)
        network.seen.clear()
        for _ in range(60):
            RandomViewInferer(multiple=1, smallest=1)(images, network)
        return [tuple(seen.shape[2:]) for seen in network.seen]

    first = draws()
    assert first == draws()
    heights, widths = (16, 24, 32, 48), (24, 36, 48, 72)
    expected = {(height, 48) for height in heights} | {(32, width) for width in widths}
    assert set(first) == expected | set(zip(heights, widths, strict=True)) | {(48, 32)}


def test_turns_are_exact() -> None:
    images, network = smooth(16, 32), Watched()
    logits = RandomViewInferer(factors=[], turns=[90])(images, network)
    assert torch.equal(network.seen[0], torch.rot90(images, 1, (2, 3)))
    assert torch.equal(logits[:, 0], images)


def test_auxiliary_head_and_another_inferer() -> None:
    class TwoHeads(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([images, -images], dim=1).to(torch.bfloat16)

    calls = []

    def through(inputs: Tensor, network: nn.Module) -> Tensor:
        calls.append(inputs.shape)
        return network(inputs)

    logits = RandomViewInferer(inferer=through)(smooth(32, 48), TwoHeads())
    assert logits.shape == (2, 2, 2, 2, 32, 48)
    assert len(calls) == 2


def test_gradients_of_both_views_reach_the_network() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(2, 2, 1)
    logits = RandomViewInferer()(smooth(32, 48), network)
    for view in range(2):
        gradient = torch.autograd.grad(logits[:, view].square().sum(), network.weight, retain_graph=True)[0]
        assert (gradient != 0).all()


@pytest.mark.parametrize("arguments", [{"factors": [0.0]}, {"turns": [45]}, {"factors": [], "turns": []}])
def test_views_that_do_not_exist(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Expected factors above 0 and turns of 90, 180 or 270 degrees, at least one"):
        RandomViewInferer(**arguments)


def test_views_do_not_become_too_small_for_a_network() -> None:
    network = Watched()
    for size in ((40, 24), (32, 64)):
        RandomViewInferer(factors=[0.5], turns=[])(smooth(*size), network)
    assert {seen.shape[2] for seen in network.seen} <= {40, 32}
    assert {seen.shape[3] for seen in network.seen} <= {24, 64, 32}


def test_sizes_below_one() -> None:
    with pytest.raises(
        ValueError, match=r"Expected multiple and smallest to be at least 1 pixel, found 0 and 32. Give"
    ):
        RandomViewInferer(multiple=0)
