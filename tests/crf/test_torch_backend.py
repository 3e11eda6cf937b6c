"""The PyTorch backend: slices in chunks, and on a CUDA device."""

from __future__ import annotations

import pytest
import torch

from camtools.crf import dense_crf, torch_backend
from tests.crf_slices import agreement, structured_slices

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


SHAPES = [(2, 1, 61, 47), (2, 3, 48, 65), (1, 1, 7, 96), (3, 3, 33, 33)]


def test_chunks_of_one_slice_give_the_same(monkeypatch):
    images, probability = structured_slices((3, 1, 19, 26))
    whole = dense_crf(images, probability, backend="torch")
    monkeypatch.setitem(torch_backend._CHUNK_PIXELS, "cpu", 1)
    torch.testing.assert_close(dense_crf(images, probability, backend="torch"), whole, atol=1e-5, rtol=0)


@needs_cuda
@pytest.mark.parametrize("shape", SHAPES)
def test_cuda_gives_what_the_cpu_gives(shape):
    images, probability = structured_slices(shape)
    expected = dense_crf(images, probability, backend="torch")
    marginals = dense_crf(images, probability.cuda())
    assert marginals.is_cuda
    assert agreement(marginals.cpu(), expected) >= 0.999
