"""Evidence for masks without masks: its parts by hand, and that it prefers the object."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.cams.confidence import image_confidences
from camtools.tuning import mask_evidence
from camtools.tuning.evidence import BLUR, contrast, map_evidence, mask_rings, rank_agreement
from tests.tuning.spools import MAPS, disc, slices_of, spooled


class Brightest(nn.Module):
    """One logit: how much of the image is bright."""

    def forward(self, images: Tensor) -> Tensor:
        return 0.2 * (images - 0.4).relu().sum(dim=(1, 2, 3))[:, None] - 2


def scene() -> tuple[Tensor, Tensor]:
    inside = disc(12, 11, 6) > 0
    return (0.2 + 0.6 * inside.float())[None, None], inside[None, None]


def test_the_ring_of_a_disc_has_about_its_area() -> None:
    mask = (disc(12, 12, 7) > 0)[None, None]
    ring = mask_rings(mask)
    assert not (ring & mask).any()
    assert 0.7 < ring.sum() / mask.sum() < 1.6
    assert not mask_rings(torch.zeros_like(mask)).any()


def test_contrast_by_hand() -> None:
    images = torch.tensor([[[[4.0, 2.0, 1.0, 1.0, 9.0]]]])
    inside = torch.tensor([[[[1.0, 1.0, 0.0, 0.0, 0.0]]]])
    ring = torch.tensor([[[[0.0, 0.0, 1.0, 1.0, 0.0]]]])
    # of 4, 2, 1, 1: mean 2, variance (4 + 0 + 1 + 1) / 4; between (1 + 1) / 2
    assert contrast(images, inside, ring).item() == pytest.approx(1.0 / 1.5)
    two = torch.cat([images, torch.ones_like(images)], dim=1)  # a channel without contrast
    assert contrast(two, inside, ring).item() == pytest.approx(0.5 / 1.5)


def test_evidence_by_hand() -> None:
    images, mask = scene()
    network = Brightest()
    whole = torch.sigmoid(network(images))[0, 0]
    filled = torch.sigmoid(network(torch.full_like(images, 0.2)))[0, 0]
    size = [length // BLUR for length in images.shape[2:]]
    around = F.interpolate(F.adaptive_avg_pool2d(images, size), images.shape[2:], mode="bilinear")
    kept = torch.sigmoid(network(torch.where(mask, images, around)))[0, 0]
    parts = [1 - filled / whole, (kept / whole).clamp(max=1), torch.tensor(1.0)]
    expected = 3 / sum(1 / part for part in parts)
    assert mask_evidence(network, images, mask, target=0).item() == pytest.approx(float(expected), abs=1e-5)
    own = image_confidences(network, images, 0)
    assert mask_evidence(network, images, mask, 0, own).item() == pytest.approx(float(expected), abs=1e-5)


def test_the_object_has_more_evidence_than_other_masks() -> None:
    images, mask = scene()
    beside = disc(12, 4, 4)[None, None] > 0
    large = disc(12, 11, 11)[None, None] > 0
    small = disc(12, 11, 2.5)[None, None] > 0
    nothing, all_of_it = torch.zeros_like(mask), torch.ones_like(mask)
    masks = torch.cat([mask, beside, large, small, nothing, all_of_it])
    found = mask_evidence(Brightest(), images.expand(6, -1, -1, -1), masks, target=0).tolist()
    assert found.index(max(found)) == 0
    assert found[4:] == [0, 0]
    alone = [mask_evidence(Brightest(), images, one[None], target=0).item() for one in masks]
    assert found == pytest.approx(alone, abs=1e-6)


def test_maps_on_the_object_have_more_evidence() -> None:
    made = spooled({name: slices_of(name, 2, seed) for seed, name in enumerate("abc")})
    found = map_evidence(made, MAPS, Brightest(), 0, torch.device("cpu"), slices=6)
    assert found.index(max(found)) in (0, 3)
    assert min(found) == found[1]
    assert found == map_evidence(made, MAPS, Brightest(), 0, torch.device("cpu"), slices=99)
    assert found != map_evidence(made, MAPS, Brightest(), 0, torch.device("cpu"), slices=3)


def test_rank_agreement() -> None:
    assert rank_agreement([0.1, 0.2, 0.3, 0.4], [1, 3, 2, 4]) == pytest.approx(0.8)
    assert rank_agreement([0.1, 0.2, 0.3], [3, 2, 1]) == -1
    assert rank_agreement([0.1, 0.2], [1, 2]) is None
    assert rank_agreement([0.1, 0.1, 0.1], [1, 2, 3]) is None
