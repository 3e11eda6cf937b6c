"""Score-CAM and Ablation-CAM from the equations: one image (C, H, W), one channel, one forward pass at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tests.reference.cams import reference_bilinear


def layer_output(model: nn.Module, layer: str, image: Tensor) -> Tensor:
    """Activation (K, h, w) of a layer, copied before the model can change it."""
    kept: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: kept.append(output.clone()))
    with torch.no_grad():
        model(image[None])
    hook.remove()
    return kept[0][0]


def reference_mask(channel: Tensor, height: int, width: int) -> Tensor:
    """Wang et al., eq. 5-6: upsampled, then scaled to 0..1 by its own extremes; zero for a constant channel."""
    if len(set(channel.flatten().tolist())) == 1:
        return torch.zeros(height, width, dtype=channel.dtype)
    upsampled = reference_bilinear(channel, height, width)
    lowest, highest = min(upsampled.flatten().tolist()), max(upsampled.flatten().tolist())
    return (upsampled - lowest) / (highest - lowest)


def weighted_map(activation: Tensor, weights: list[float]) -> Tensor:
    channels, h, w = activation.shape
    layer_map = torch.zeros(h, w, dtype=activation.dtype)
    for i in range(h):
        for j in range(w):
            layer_map[i, j] = max(math.fsum(weights[k] * float(activation[k, i, j]) for k in range(channels)), 0.0)
    return layer_map


def reference_score_cam_map(activation: Tensor, scores: list[float]) -> Tensor:
    """Wang et al., algorithm 1, from the increases of the scores on: (h, w)."""
    total = math.fsum(math.exp(score) for score in scores)
    return weighted_map(activation, [math.exp(score) / total for score in scores])


def reference_score_cam(model: nn.Module, layer: str, image: Tensor, target: int) -> Tensor:
    """Wang et al., algorithm 1, with a black baseline image: (H, W)."""
    height, width = image.shape[1:]
    activation = layer_output(model, layer, image)
    with torch.no_grad():
        baseline = float(model(torch.zeros_like(image)[None])[0, target])
        increases = [
            float(model((image * reference_mask(channel, height, width))[None])[0, target]) - baseline
            for channel in activation
        ]
    return reference_bilinear(reference_score_cam_map(activation, increases), height, width)


def reference_ablation_cam(model: nn.Module, layer: str, image: Tensor, target: int) -> Tensor:
    """Desai and Ramaswamy: the whole model once for each channel, which a hook sets to zero: (H, W)."""
    activation = layer_output(model, layer, image)
    weights = []
    with torch.no_grad():
        score = float(model(image[None])[0, target])
        for k in range(len(activation)):
            ablated = activation.clone()
            ablated[k] = 0
            hook = model.get_submodule(layer).register_forward_hook(
                lambda m, i, o, ablated=ablated: ablated.clone()[None]
            )
            weights.append((score - float(model(image[None])[0, target])) / score)
            hook.remove()
    return reference_bilinear(weighted_map(activation, weights), *image.shape[1:])


def reference_confidence(model: nn.Module, image: Tensor, target: int) -> float:
    """Probability of the class: sigmoid of one logit, softmax of several."""
    with torch.no_grad():
        logits = model(image[None])[0].double().tolist()
    if len(logits) == 1:
        return 1 / (1 + math.exp(-logits[0]))
    return math.exp(logits[target]) / math.fsum(math.exp(logit) for logit in logits)


def reference_confidence_weights(confidences: list[float], blank: float) -> list[float]:
    """Cfd-CAM, section 2, step 3."""
    trusted = [0.0 if confidence < blank else confidence for confidence in confidences]
    return [confidence / math.fsum(trusted) if any(trusted) else 0.0 for confidence in trusted]


def reference_cfd_cam(
    model: nn.Module, layer: str, image: Tensor, target: int, scales: tuple[float, ...], scale_by_confidence: bool
) -> Tensor:
    """Cfd-CAM, section 2, steps 1-5: (H, W). ``scale_by_confidence`` is what the authors' code adds."""
    height, width = image.shape[1:]
    average = torch.zeros(height, width, dtype=image.dtype)
    for scale in scales:
        h, w = round(height * scale), round(width * scale)
        resized = torch.stack([reference_bilinear(channel, h, w) for channel in image])
        masks = [reference_mask(channel, h, w) for channel in layer_output(model, layer, resized)]
        confidences = [reference_confidence(model, resized * mask, target) for mask in masks]
        blank = reference_confidence(model, torch.zeros_like(resized), target)
        weights = reference_confidence_weights(confidences, blank)
        scale_map = torch.zeros(h, w, dtype=image.dtype)
        for weight, mask in zip(weights, masks, strict=True):
            scale_map += weight * mask
        if scale_by_confidence:
            lowest, highest = float(scale_map.min()), float(scale_map.max())
            span = highest - lowest if highest > lowest else 1.0
            scale_map = (scale_map - lowest) / span * reference_confidence(model, resized, target)
        average += reference_bilinear(scale_map, height, width) / len(scales)
    return average


def reference_predicted_confidences(vectors: Tensor, chosen: list[int], confidences: list[float]) -> list[float]:
    """Rasmussen and Williams, eq. 2.25, of the logits about their mean, for one image; the chosen keep their own."""
    channels = vectors.tolist()
    distances = [[math.dist(one, channels[other]) for other in chosen] for one in channels]
    width = sorted(distance for row in distances for distance in row)[(len(channels) * len(chosen) - 1) // 2]
    kernel = [[math.exp(-((distance / width) ** 2) / 2) for distance in row] for row in distances]
    logits = [math.log(confidence / (1 - confidence)) for confidence in confidences]
    mean = math.fsum(logits) / len(logits)
    gram = torch.tensor([kernel[k] for k in chosen], dtype=torch.float64)
    gram += 0.01 * torch.eye(len(chosen), dtype=torch.float64)
    weights = (torch.linalg.inv(gram) @ torch.tensor([logit - mean for logit in logits], dtype=torch.float64)).tolist()
    predicted = [mean + math.fsum(k * w for k, w in zip(row, weights, strict=True)) for row in kernel]
    result = [1 / (1 + math.exp(-logit)) for logit in predicted]
    for k, confidence in zip(chosen, confidences, strict=True):
        result[k] = confidence
    return result
