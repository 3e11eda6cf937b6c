from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from camtools.transforms import SharesToLabelsd, TagGatedSharesd
from tests.reference.relabel import reference_labels

TAGS = [0, 1, 1, 1, 0]  # slice 2 comes out empty


def volumes() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the object and previous labels."""
    rng = np.random.default_rng(0)
    shares = rng.random((6, 7, 5))
    shares[..., 2] *= 0.5
    return shares, rng.choice([0, 1, 255], (6, 7, 5))


@pytest.mark.parametrize("band", [None, 0.0, 0.1])
def test_labels_against_the_rules(band: float | None) -> None:
    shares, previous = volumes()
    pred = MetaTensor(torch.tensor(np.stack([1 - shares, shares])), affine=torch.diag(torch.tensor([2.0, 2, 5, 1])))
    data = {"pred": pred, "mask": MetaTensor(torch.tensor(previous[None])), "slice_labels": TAGS}
    gated = TagGatedSharesd()(data)
    found = SharesToLabelsd(band)(gated)["mask"]
    np.testing.assert_array_equal(found[0], reference_labels(shares, previous, TAGS, band))
    assert found.dtype == torch.uint8
    torch.testing.assert_close(found.affine, pred.affine)
    assert (found[..., 2] == 1).any()
    assert not found[..., [0, 4]].any()
    assert ((found == 255).any() == (band is not None)).all()


def test_soft_previous_label_under_another_key() -> None:
    shares = torch.zeros(2, 3, 3, 1)
    shares[0] = 1
    spl = torch.linspace(0, 1, 9).reshape(1, 3, 3, 1)
    data = {"pred": MetaTensor(shares), "spl": MetaTensor(spl), "slice_labels": [1]}
    found = TagGatedSharesd(previous_key="spl")(data)["mask"]
    torch.testing.assert_close(found.as_tensor(), spl)


def test_logits_instead_of_probabilities() -> None:
    data = {"pred": MetaTensor(torch.full((2, 3, 3, 1), 4.0)), "mask": torch.zeros(1, 3, 3, 1), "slice_labels": [1]}
    message = r"Expected probabilities \(2, X, Y, Z\).* found \(2, 3, 3, 1\) with sums from 8 to 8. Use camtools.engine"
    with pytest.raises(ValueError, match=message):
        TagGatedSharesd()(data)


def test_three_classes() -> None:
    data = {"pred": MetaTensor(torch.full((3, 3, 3, 1), 1 / 3)), "mask": torch.zeros(1, 3, 3, 1), "slice_labels": [1]}
    with pytest.raises(ValueError, match=r"of background and object that sum to 1, found \(3, 3, 3, 1\)"):
        TagGatedSharesd()(data)


def test_tags_of_another_slice_axis() -> None:
    data = {"pred": MetaTensor(torch.full((2, 3, 3, 4), 0.5)), "mask": torch.zeros(1, 3, 3, 4), "slice_labels": [1, 0]}
    with pytest.raises(ValueError, match=r"Expected one tag for each of 4 slices, found 2. Give the slice_axis of the"):
        TagGatedSharesd()(data)


@pytest.mark.parametrize("band", [-0.1, 0.5])
def test_band_outside_its_range(band: float) -> None:
    with pytest.raises(ValueError, match=rf"Expected ignore_band from 0 to below 0.5, found {band}. Give null to"):
        SharesToLabelsd(band)
