"""Pictures inside the page: every size and kind, and back the same."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from camtools.report.cells import CELL, slice_picture
from camtools.report.markup import data_uri

NOISE = np.random.RandomState(0).randint(0, 256, (600, 800, 3)).astype(np.uint8)


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (16, 16), (256, 256), (600, 800)], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_noise_of_any_size_becomes_a_jpeg_near_the_picture(mode: str, size: tuple[int, int]) -> None:
    picture = Image.fromarray(np.resize(NOISE, (*size, 3))).convert(mode)
    uri = data_uri(picture)
    assert uri.startswith("data:image/jpeg;base64,")
    assert np.abs(np.asarray(decoded(uri), int) - np.asarray(picture, int)).mean() < 12


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1", "I;16"])
def test_other_kinds_become_a_png_that_is_the_picture(mode: str) -> None:
    picture = Image.fromarray(NOISE[..., 0]).convert("I;16" if mode == "I;16" else mode)
    uri = data_uri(picture)
    assert uri.startswith("data:image/png;base64,")
    np.testing.assert_array_equal(np.asarray(decoded(uri)), np.asarray(picture))


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (40, 30)])
def test_slices_of_any_shape_and_constant_ones_are_drawn(shape: tuple[int, int]) -> None:
    assert max(slice_picture(np.zeros(shape, np.float32)).size) == CELL
