"""Fixed-input results of the tensor functions of camtools, for ``same_results.py``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.data import MetaTensor
from torch import Tensor

from camtools import cams, fusion, losses, metrics, thresholds
from camtools.crf import dense_crf
from camtools.geodesic import geodesic_distance, seed_pseudo_label
from camtools.networks import VGG16CAM, ResNet18CAM
from camtools.seeds import seeds_from_cam
from camtools.transforms import SeedPseudoLabeld

MAPS = ("CAM", "GradCAM", "GradCAMpp", "XGradCAM", "LayerCAM", "FullGrad", "ScoreCAM", "AblationCAM")
TRUNCATED = ("LTGradCAM", "LTLayerCAM", "LTFullGrad")
DEEPEST_ONLY = ("CAM", "ScoreCAM", "AblationCAM", "CfdCAM")
WEIGHTINGS = ("loss_norm", "confidence", "confidence_difference", "loss_confidence", "ohem", "none")
Results = dict[str, Tensor]


def tensor_results() -> Results:
    """Every result by its name."""
    results: Results = {}
    parts: list[Callable[[], Results]] = [_maps, _fusion, _seeds, _pseudo_labels, _crf, _thresholds, _losses, _metrics]
    for part in parts:
        torch.manual_seed(0)
        results |= part()
    return {f"tensors/{name}": value.detach() for name, value in results.items()}


def _images(count: int = 3, channels: int = 1) -> Tensor:
    """Noise with a bright ellipse, a different one in each image, in [0, 1]."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.rand(count, channels, 48, 40, generator=generator)
    rows, columns = torch.arange(48.0)[:, None], torch.arange(40.0)
    for index in range(count):
        inside = ((rows - 18 - 5 * index) / 9) ** 2 + ((columns - 15 - 4 * index) / 6) ** 2 < 1
        noise[index] = 0.4 * noise[index] + 0.5 * inside
    return noise


def _fused() -> Tensor:
    """Smooth maps in [0, 1]; the last one is zero everywhere."""
    maps = torch.nn.functional.avg_pool2d(_images(), 7, stride=1, padding=3)
    maps = maps / maps.amax(dim=(2, 3), keepdim=True)
    maps[-1] = 0
    return maps


def _maps() -> Results:
    results: Results = {}
    networks = {
        "VGG16CAM": VGG16CAM(in_channels=1, num_classes=2, width=0.125, norm="batch"),
        "ResNet18CAM": ResNet18CAM(in_channels=1, num_classes=1, width=0.125),
    }
    for network, model in networks.items():
        target = 0 if network == "ResNet18CAM" else 1
        for name in (*MAPS, *TRUNCATED, "CfdCAM"):
            layers = model.cam_layers[-1:] if name in DEEPEST_ONLY else model.cam_layers
            if name in ("FullGrad", "LTFullGrad"):
                cam = getattr(cams, name)(model)
            else:
                cam = getattr(cams, name)(model, layers)
            results[f"cams/{network}/{name}"] = cam(_images(), target=target)
    model = networks["VGG16CAM"]
    results["cams/VGG16CAM/GradCAM of the arg-max"] = cams.GradCAM(model, model.cam_layers)(_images())
    results["cams/VGG16CAM/GradCAM of each target"] = cams.GradCAM(model, model.cam_layers)(
        _images(), target=torch.tensor([1, 0, 1])
    )
    single_scale = cams.CfdCAM(networks["ResNet18CAM"], ["layer4"], scales=(1.0,), batch_size=2)
    results["cams/ResNet18CAM/CfdCAM at one scale"] = single_scale(_images(), target=0)
    for percentile in (0, 20, 75):
        results[f"cams/truncate_gradients {percentile}"] = cams.truncate_gradients(
            torch.randn(2, 6, 24, 20), percentile
        )
    return results


def _fusion() -> Results:
    maps = torch.rand(3, 4, 12, 10) * torch.tensor([1.0, 0.5, 2.0, 0.1]).reshape(1, 4, 1, 1)
    maps[2, 1] = 0
    scaled = fusion.normalize_max(maps)
    return {
        "fusion/normalize_max": scaled,
        "fusion/mean": fusion.mean(scaled),
        "fusion/layer_sum": fusion.layer_sum(maps),
        "fusion/uncertainty_weighted_mean": fusion.uncertainty_weighted_mean(scaled),
        "fusion/uncertainty_weighted_mean exp": fusion.uncertainty_weighted_mean(scaled, weighting="exp"),
    }


def _seeds() -> Results:
    results: Results = {}
    for margin in (0, 5):
        seeds = seeds_from_cam(_fused(), 0.6, margin=margin)
        results[f"seeds/foreground {margin}"] = seeds.foreground
        results[f"seeds/background {margin}"] = seeds.background
    return results


def _pseudo_labels() -> Results:
    images, cam = _images(), _fused()
    seed_mask = seeds_from_cam(cam[:2], 0.6).foreground
    results = {"geodesic/distance": geodesic_distance(images[:2], seed_mask)}
    for threshold in (0.4, "auto"):
        results[f"spl/function {threshold}"] = seed_pseudo_label(images, cam, threshold=threshold, alpha=0.7)
        volume = {"image": _as_volume(images), "cam": _as_volume(cam)}
        written = SeedPseudoLabeld(threshold=threshold, alpha=0.7)(volume)
        results[f"spl/transform {threshold}"] = torch.as_tensor(written["spl"])
    return results


def _as_volume(slices: Tensor) -> MetaTensor:
    """From slices ``(B, 1, H, W)`` to a volume ``(1, H, W, B)``."""
    return MetaTensor(slices.permute(1, 2, 3, 0).contiguous())


def _crf() -> Results:
    grey, colour, cam = _images(), _images(channels=3), _fused().clamp(0.02, 0.98)
    return {
        "crf/grey": dense_crf(grey, cam),
        "crf/colour": dense_crf(colour, cam),
        "crf/five iterations": dense_crf(grey, cam, iterations=5, bilateral_sxy=20, gaussian_compat=1),
    }


def _thresholds() -> Results:
    images, maps = _images(), _fused()
    masks = (images > 0.6).float()
    return {
        "thresholds/otsu": thresholds.otsu(maps),
        "thresholds/midpoint": thresholds.midpoint(maps),
        "thresholds/intra_class_variance": thresholds.intra_class_variance(images, maps),
        "thresholds/search_dice": torch.tensor(thresholds.search_dice(maps, masks)),
    }


def _losses() -> Results:
    results: Results = {}
    labels = torch.randint(0, 2, (3, 1, 12, 10))
    labels[1] = 0
    for weighting in WEIGHTINGS:
        results |= _loss_and_gradient(f"OEEMLoss {weighting}", losses.OEEMLoss(weighting=weighting), labels)
    soft = torch.rand(3, 2, 12, 10)
    results |= _loss_and_gradient("DualPseudoLabelLoss", losses.DualPseudoLabelLoss(lam=0.1), soft)
    results |= _loss_and_gradient("SoftCrossEntropyLoss", losses.SoftCrossEntropyLoss(), soft.softmax(dim=1))
    results |= _loss_and_gradient("SupConLoss", losses.SupConLoss(), torch.tensor([0, 1, 0]), (3, 2, 16))
    return results


def _loss_and_gradient(
    name: str, loss: torch.nn.Module, target: Tensor, shape: tuple[int, ...] = (3, 2, 12, 10)
) -> Results:
    generator = torch.Generator().manual_seed(9)
    logits = torch.randn(shape, generator=generator).requires_grad_()
    value = loss(logits, target)
    value.backward()
    return {f"losses/{name}": value, f"losses/{name}, gradient": logits.grad}


def _metrics() -> Results:
    truth = _images()[..., None].permute(4, 1, 2, 3, 0) > 0.6
    prediction = truth.roll(2, dims=2)
    spacing = (1.0, 1.5, 4.0)
    slices = truth[0].permute(3, 0, 1, 2)
    objects = metrics.object_counts(_numbers(slices.roll(3, dims=2)), _numbers(slices))
    pixels = metrics.pixel_counts(slices.roll(3, dims=2), slices)
    return {
        "metrics/dice": metrics.dice(prediction, truth),
        "metrics/iou": metrics.iou(prediction, truth),
        "metrics/hd95": metrics.hd95(prediction, truth, spacing),
        "metrics/object_counts": torch.tensor([objects.true_positive, objects.false_positive, objects.dice]),
        "metrics/pixel_counts": torch.tensor([pixels.true_positive, pixels.false_positive, pixels.false_negative]),
    }


def _numbers(masks: Tensor) -> Tensor:
    """Two objects in each image: foreground of the upper and of the lower half, ``(B, H, W)``."""
    numbers = masks[:, 0].long()
    numbers[:, 24:] *= 2
    return numbers
