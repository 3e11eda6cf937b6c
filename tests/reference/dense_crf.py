"""Dense CRF by the equations of Kraehenbuehl and Koltun (NIPS 2011), with exact Gaussian kernels, pixel by pixel."""

from __future__ import annotations

import math

import torch


def reference_dense_crf(
    image: torch.Tensor,
    probability: torch.Tensor,
    gaussian: tuple[float, float] = (3, 3),
    bilateral: tuple[float, float, float] = (10, 13, 10),
    iterations: int = 10,
) -> torch.Tensor:
    """Marginals ``(2, H, W)`` of one slice ``(C, H, W)`` and its foreground probability ``(H, W)``.

    ``gaussian`` is (sxy, compat) and ``bilateral`` (sxy, srgb, compat). The squared
    difference of colours is that of three channels; of any other number, three times the mean over the channels.
    """
    colours = 255 * image.double() * math.sqrt(3 / len(image))
    height, width = probability.shape
    pixels = [(row, column) for row in range(height) for column in range(width)]
    colour = [colours[:, row, column].tolist() for row, column in pixels]
    smoothness = [[math.exp(-_squared(a, b) / (2 * gaussian[0] ** 2)) for b in pixels] for a in pixels]
    appearance = [
        [
            math.exp(-_squared(a, b) / (2 * bilateral[0] ** 2) - _squared(c, d) / (2 * bilateral[1] ** 2))
            for b, d in zip(pixels, colour, strict=True)
        ]
        for a, c in zip(pixels, colour, strict=True)
    ]
    kernels = [(gaussian[1], _symmetric(smoothness)), (bilateral[2], _symmetric(appearance))]
    clipped = [min(max(value, 1e-5), 1 - 1e-5) for value in probability.flatten().tolist()]
    unary = [(math.log(1 - value), math.log(value)) for value in clipped]
    marginals = [_normalise(*scores) for scores in unary]
    for _ in range(iterations):
        marginals = [_normalise(*_scores(i, unary[i], marginals, kernels)) for i in range(len(pixels))]
    return torch.tensor(marginals).T.reshape(2, height, width)


def _squared(a, b) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def _symmetric(kernel):
    norms = [math.sqrt(sum(row)) for row in kernel]
    return [
        [value / (a * b) for value, b in zip(row, norms, strict=True)] for row, a in zip(kernel, norms, strict=True)
    ]


def _scores(pixel, unary, marginals, kernels):
    """A label gains what the pixels around have of it: the Potts model charges for the other label only."""
    scores = list(unary)
    for compat, kernel in kernels:
        for weight, marginal in zip(kernel[pixel], marginals, strict=True):
            for label in range(2):
                scores[label] += compat * weight * marginal[label]
    return scores


def _normalise(background: float, foreground: float) -> tuple[float, float]:
    largest = max(background, foreground)
    first, second = math.exp(background - largest), math.exp(foreground - largest)
    return first / (first + second), second / (first + second)
