"""The backend of pydensecrf: equal to the library's own classes and to the PyTorch backend."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from camtools.crf import DenseCRF, dense_crf, inference
from tests.crf_slices import agreement, structured_slices

HAS_PYDENSECRF = importlib.util.find_spec("pydensecrf") is not None


needs_pydensecrf = pytest.mark.skipif(not HAS_PYDENSECRF, reason="pydensecrf is not installed")


BACKENDS = ["torch", pytest.param("pydensecrf", marks=needs_pydensecrf)]


SHAPES = [(2, 1, 61, 47), (2, 3, 48, 65), (1, 1, 7, 96), (3, 3, 33, 33)]


@needs_pydensecrf
@pytest.mark.parametrize("shape", SHAPES)
def test_backends_agree(shape):
    images, probability = structured_slices(shape)
    ours = dense_crf(images, probability, backend="torch")
    theirs = dense_crf(images, probability, backend="pydensecrf")
    assert agreement(ours, theirs) >= 0.999
    assert 0.05 < theirs[:, 1].gt(0.5).float().mean() < 0.95
    assert not torch.equal(theirs[:, 1:] > 0.5, probability > 0.5)


@needs_pydensecrf
@pytest.mark.parametrize("backend", BACKENDS)
def test_rgb_picture_gives_what_the_two_dimensional_class_of_pydensecrf_gives(backend):
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    images, probability = structured_slices((1, 3, 30, 41))
    picture = (255 * images[0]).round().byte().permute(1, 2, 0).contiguous().numpy()
    model = DenseCRF2D(41, 30, 2)
    model.setUnaryEnergy(unary_from_softmax(torch.cat([1 - probability[0], probability[0]]).numpy()))
    model.addPairwiseGaussian(sxy=3, compat=3)
    model.addPairwiseBilateral(sxy=10, srgb=13, rgbim=picture, compat=10)
    expected = torch.from_numpy(np.array(model.inference(10)).reshape(1, 2, 30, 41))
    marginals = dense_crf((255 * images).round() / 255, probability, backend=backend)
    assert agreement(marginals, expected) >= 0.999
    assert (marginals - expected).abs().mean() < 1e-3


def test_absent_pydensecrf_says_what_to_do(monkeypatch):
    monkeypatch.setattr(inference.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "camtools\[crf\]"`, or choose backend="torch"'):
        DenseCRF(backend="pydensecrf")
    images, probability = structured_slices((1, 1, 8, 8))
    assert dense_crf(images, probability).shape == (1, 2, 8, 8)
