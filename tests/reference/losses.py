"""Losses from the equations, pixel by pixel."""

from __future__ import annotations

import math

from torch import Tensor


def reference_cross_entropy(logits: Tensor, target: Tensor) -> float:
    """Mean over pixels of -sum_k P_k log softmax(logits)_k; both (B, K, H, W)."""
    batch, classes, height, width = logits.shape
    total = 0.0
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                exponentials = [math.exp(float(logits[b, k, i, j])) for k in range(classes)]
                for k in range(classes):
                    total -= float(target[b, k, i, j]) * math.log(exponentials[k] / sum(exponentials))
    return total / (batch * height * width)


def reference_dual_pseudo_label(logits: Tensor, um_cam: Tensor, spl: Tensor, lam: float) -> float:
    """UM-CAM, eq. 8; logits (B, 2, H, W), foreground probabilities (B, H, W)."""
    terms = []
    for foreground in (um_cam, spl):
        target = logits.new_zeros(logits.shape)
        target[:, 0] = 1 - foreground
        target[:, 1] = foreground
        terms.append(reference_cross_entropy(logits, target))
    return lam * terms[0] + (1 - lam) * terms[1]


def reference_sup_con(features: Tensor, labels: Tensor, temperature: float) -> float:
    """Khosla et al., eq. 2, as the mean over the views that have another one of their class; features (B, V, D)."""
    views = [(view / math.sqrt(sum(float(x) ** 2 for x in view)), b) for b, row in enumerate(features) for view in row]
    similarity = [[sum(float(x) * float(y) for x, y in zip(z, w, strict=True)) for w, _ in views] for z, _ in views]
    terms = []
    for i in range(len(views)):
        others = [a for a in range(len(views)) if a != i]
        partners = [p for p in others if labels[views[p][1]] == labels[views[i][1]]]
        if not partners:
            continue
        denominator = sum(math.exp(similarity[i][a] / temperature) for a in others)
        shares = [math.exp(similarity[i][p] / temperature) / denominator for p in partners]
        terms.append(-sum(math.log(share) for share in shares) / len(partners))
    return sum(terms) / len(terms) if terms else 0.0


def reference_oeem(logits: Tensor, labels: Tensor, weighting: str, ignored: int = 255) -> float:
    """OEEM, eq. 3-8, one pixel at a time: logits (B, K, N), labels (B, N); the mean over pixels that count."""
    total, count = 0.0, 0
    for image, classes in zip(logits.tolist(), labels.tolist(), strict=True):
        pixels = [i for i, label in enumerate(classes) if label != ignored]
        probability = {i: softmax([channel[i] for channel in image]) for i in pixels}
        losses = {i: -math.log(probability[i][classes[i]]) for i in pixels}
        easy = [math.exp(-losses[i]) for i in pixels]
        for i in pixels:
            normalized = math.exp(-losses[i]) / math.fsum(easy) * len(pixels)
            weight = {
                "loss_norm": normalized,
                "confidence": max(probability[i]),
                "confidence_difference": max(probability[i]) - min(probability[i]),
                "loss_confidence": normalized * max(probability[i]),
                "none": 1.0,
            }[weighting]
            if len({classes[j] for j in pixels}) == 1:
                weight = 1.0
            total += weight * losses[i]
            count += 1
    return total / count


def softmax(values: list[float]) -> list[float]:
    exponentials = [math.exp(value - max(values)) for value in values]
    return [value / math.fsum(exponentials) for value in exponentials]


def reference_random_view_consensus(first: Tensor, second: Tensor, labels: Tensor, weight: float) -> float:
    """UM-CAM, journal version: logits (B, 2, N) of both views, labels (B, N) with 255 for pixels without a label."""
    supervised, counted, divergence, pixels = 0.0, 0, 0.0, 0
    for b in range(len(labels)):
        for i in range(labels.shape[1]):
            p = softmax([float(first[b, k, i]) for k in range(2)])
            q = softmax([float(second[b, k, i]) for k in range(2)])
            divergence += sum(p[k] * math.log(p[k] / q[k]) + q[k] * math.log(q[k] / p[k]) for k in range(2)) / 2
            pixels += 1
            label = int(labels[b, i])
            if label == 255:
                continue
            mean = (p[1] + q[1]) / 2
            supervised -= (1 - (p[1] - mean) ** 2) * math.log(p[label]) / 2
            supervised -= (1 - (q[1] - mean) ** 2) * math.log(q[label]) / 2
            counted += 1
    return supervised / counted + weight * divergence / pixels
