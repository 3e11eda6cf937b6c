"""What the tests of the activation maps start from, unless one has a reason to start from something else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.cam_models import Classifier


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def model() -> Classifier:
    return Classifier().eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 2, 8, 10)
