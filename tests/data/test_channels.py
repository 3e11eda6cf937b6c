"""Numbers of channels, and what to do about a wrong one."""

from __future__ import annotations

import pytest
import torch

from camtools.data import DataError
from camtools.data.channels import check_channels, shown_channels


@pytest.mark.parametrize(
    ("name", "found", "expected", "message"),
    [
        ("a.nii.gz", 1, 4, r"Expected 4 channels .* found 1 \(grey values\) in a.nii.gz\. .*'camtools channels FOLDER"),
        ("a.nii.gz", 4, 1, r"found 4 in a.nii.gz\. Give files of one channel; or, .* train with in_channels 4\."),
        ("a.nii.gz", 2, 4, r"found 2 in a.nii.gz\. Give files with the 4 channels of the training, in the same order"),
        ("a.png", 3, 4, r"Expected 4 channels .* found 3 \(colour\) in a.png\. Give files with the 4 channels"),
    ],
)
def test_a_wrong_number_is_named(name: str, found: int, expected: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_channels(name, torch.zeros(found, 2, 2, 2), expected)


def test_any_number_and_the_right_one_pass() -> None:
    check_channels("a", torch.zeros(4, 2, 2, 2), None)
    check_channels("a", torch.zeros(4, 2, 2, 2), 4)


def test_pictures_show_colours_or_the_first_channel() -> None:
    image = torch.arange(8.0).reshape(4, 2)
    assert torch.equal(shown_channels(image), image[:1])
    assert torch.equal(shown_channels(image[:3]), image[:3])
    assert torch.equal(shown_channels(image[:2]), image[:1])
