"""The two tricks of LTGrad-CAM one by one: how much to truncate, and which layers to add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from camtools.cams import FullGrad, GradCAM, LayerCAM, LTFullGrad, LTGradCAM, LTLayerCAM
from camtools.metrics import PixelCounts, pixel_counts
from camtools.scores.classifier import TrainedClassifier
from camtools.scores.map_methods import Cam, stage_layers
from camtools.scores.map_rules import masks_by_rule
from camtools.scores.map_tables import POOLED, POOLED_COLUMNS, pooled_percent
from camtools.scores.tables import best_in_bold, markdown_table, write_csv
from camtools.scores.validation_maps import mapped_slices

__all__ = ["PERCENTILES", "LTSweep", "format_lt_sweep", "sweep_lt", "write_lt_sweep"]

PERCENTILES = tuple(range(0, 100, 10))


@dataclass(frozen=True)
class LTSweep:
    """Pooled pixels under Otsu's threshold of each map.

    Attributes:
        split: name of the split.
        truncated: method -> its counts at each of :data:`PERCENTILES`.
        untruncated: the same methods with gradients as they are, their maps added over the same layers.
        layers: Grad-CAM, without truncation, at each stage (S1 the shallowest) and added over stages.
    """

    split: str
    truncated: Mapping[str, list[PixelCounts]]
    untruncated: Mapping[str, PixelCounts]
    layers: Mapping[str, PixelCounts]


def sweep_lt(
    classifier: TrainedClassifier, split: str = "validation", target: int = 1, batch_size: int | None = None
) -> LTSweep:
    """Score LTGrad-CAM, LTLayer-CAM and LTFullGrad over the truncation percentile, and Grad-CAM over its layers.

    LTGrad-CAM and LTLayer-CAM read all ``cam_layers`` of the classifier, LTFullGrad all layers with a bias. Slices,
    resolution and scores are those of :func:`camtools.scores.map_scores.evaluate_cams` with the rule ``otsu``.
    LTLayer-CAM at percentile 0 is the layer sum of Layer-CAM, which ignores negative gradients itself.

    Source: LTGrad-CAM (Dong et al., 2023), table 1 and figures 4-5. The paper draws the test and the training set;
    masks of training items are not read here, so choose the percentile on the validation split.

    Args:
        classifier: trained classifier and its data.
        split: ``"validation"`` or ``"test"``.
        target: class of the object.
        batch_size: images per pass; None chooses a number that is fast on the device.

    Returns:
        The pooled counts.

    Raises:
        ValueError: as :func:`camtools.scores.map_scores.evaluate_cams`.
    """
    truncated = _truncated(classifier.network, batch_size)
    untruncated = _untruncated(classifier.network, batch_size)
    layers = _layer_choices(classifier.network, batch_size)
    cams = {**untruncated, **layers}
    for method, at_percentiles in truncated.items():
        cams |= {f"{method} {percentile}": cam for percentile, cam in zip(PERCENTILES, at_percentiles, strict=True)}
    counts = dict.fromkeys(cams, PixelCounts())
    for one in mapped_slices(classifier, cams, split, target):
        masks = masks_by_rule(one, "otsu", None, classifier)
        counts[one.method] += pixel_counts(masks, one.slices.masks)
    return LTSweep(
        split,
        {method: [counts[f"{method} {percentile}"] for percentile in PERCENTILES] for method in truncated},
        {method: counts[method] for method in untruncated},
        {name: counts[name] for name in layers},
    )


def write_lt_sweep(sweep: LTSweep, folder: str | Path) -> None:
    """Write ``lt_sweep.csv`` (an empty percentile: not truncated) and ``lt_layers.csv``, all scores in %."""
    rows: list[list[object]] = []
    for method, at_percentiles in sweep.truncated.items():
        for percentile, counts in zip([*PERCENTILES, None], [*at_percentiles, sweep.untruncated[method]], strict=True):
            rows.append([sweep.split, method, percentile, *pooled_percent(counts)])
    write_csv(Path(folder) / "lt_sweep.csv", ["split", "method", "percentile", *POOLED_COLUMNS], rows)
    write_csv(
        Path(folder) / "lt_layers.csv",
        ["split", "layers", *POOLED_COLUMNS],
        [[sweep.split, name, *pooled_percent(counts)] for name, counts in sweep.layers.items()],
    )


def format_lt_sweep(sweep: LTSweep) -> str:
    """Two Markdown tables, of the percentiles and of the layers; the best of each column is bold."""
    columns = [
        [100 * counts.iou for counts in [*at_percentiles, sweep.untruncated[method]]]
        for method, at_percentiles in sweep.truncated.items()
    ]
    percentiles = [[*map(str, PERCENTILES), "not truncated"], *map(best_in_bold, columns)]
    scores = zip(*(pooled_percent(counts) for counts in sweep.layers.values()), strict=True)
    layers = [[*sweep.layers], *(best_in_bold(column) for column in scores)]
    return (
        f"mIoU (%) on {sweep.split} against the percentile of truncation, Otsu's threshold:\n\n"
        f"{markdown_table(['Percentile', *sweep.truncated], list(zip(*percentiles, strict=True)))}\n\n"
        f"Grad-CAM on {sweep.split} at stages of the classifier, not truncated, Otsu's threshold:\n\n"
        f"{markdown_table(['Layers', *POOLED], list(zip(*layers, strict=True)))}"
    )


def _truncated(network: nn.Module, batch_size: int | None) -> dict[str, list[Cam]]:
    stages = stage_layers(network)
    return {
        "LTGradCAM": [LTGradCAM(network, stages, percentile, batch_size) for percentile in PERCENTILES],
        "LTLayerCAM": [LTLayerCAM(network, stages, percentile, batch_size) for percentile in PERCENTILES],
        "LTFullGrad": [LTFullGrad(network, None, percentile, batch_size) for percentile in PERCENTILES],
    }


def _untruncated(network: nn.Module, batch_size: int | None) -> dict[str, Cam]:
    stages = stage_layers(network)
    return {
        "LTGradCAM": GradCAM(network, stages, batch_size),
        "LTLayerCAM": LayerCAM(network, stages, batch_size),
        "LTFullGrad": FullGrad(network, None, batch_size),
    }


def _layer_choices(network: nn.Module, batch_size: int | None) -> dict[str, Cam]:
    """Each stage alone, the last three together, and all: S1, ..., S5, S3+S4+S5, S1+S2+S3+S4+S5."""
    stages = stage_layers(network)
    positions = range(len(stages))
    choices = [[position] for position in positions] + [list(positions[-3:]), list(positions)]
    return {
        "+".join(f"S{position + 1}" for position in chosen): GradCAM(
            network, [stages[position] for position in chosen], batch_size
        )
        for chosen in choices
    }
