"""The trained classifier of a bundle, with the data it was made for, for use outside a run of the bundle."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from camtools.crf import DenseCRF
from camtools.data.geometry import SliceAxis
from camtools.data.splits import Splits
from camtools.networks.weights import load_weights
from camtools.scores.masked import items_with_mask

__all__ = ["TrainedClassifier", "load_trained_classifier"]

logger = logging.getLogger("camtools")

NEEDED_IDS = ("classifier#network", "classifier_dir", "preprocessing", "splits", "device")


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier with its weights, and what turns a volume item into the slices it was trained on.

    Attributes:
        network: in evaluation mode, on ``device``.
        prepare: the bundle's preprocessing, a dictionary transform over volumes; the slice axis is last after it.
        splits: volume items by name of the split, without those of training.
        device: where maps are computed.
        slice_axis: as given to :class:`camtools.transforms.SliceAxisLastd`.
        min_area_fraction: share of a slice above which a mask makes it positive, where tags are derived.
        crf: makes ``(B, 2, H, W)`` marginals of images and maps ``(B, 1, H, W)``, both in [0, 1].
    """

    network: nn.Module
    prepare: Callable[[Any], Any]
    splits: Mapping[str, Sequence[dict[str, Any]]]
    device: torch.device
    slice_axis: SliceAxis = None
    min_area_fraction: float = 0.0
    crf: Callable[[Tensor, Tensor], Tensor] = field(default_factory=DenseCRF)

    def masked_items(self, split: str) -> list[dict[str, Any]]:
        """Items of a split that have a mask. Items without a mask are skipped.

        Raises:
            ValueError: the training split, an unknown split, or one without a mask.
        """
        if split == "training":
            raise ValueError(
                "split: expected validation or test, found 'training', whose masks give slice tags and nothing else. "
                "Use validation or test."
            )
        if split not in self.splits:
            raise ValueError(f"split: expected one of {', '.join(self.splits)}, found {split!r}.")
        items = items_with_mask(self.splits[split])
        if not items:
            raise ValueError(
                f"Split '{split}': expected volumes with a mask ('label') to score maps against, found none in "
                f"{len(self.splits[split])} volumes. Add masks to dataset.json or choose another split."
            )
        if len(items) < len(self.splits[split]):
            logger.info("%s: %d volumes without a mask are skipped", split, len(self.splits[split]) - len(items))
        return items


def load_trained_classifier(
    config_files: Sequence[str | Path], overrides: Mapping[str, Any] | None = None
) -> TrainedClassifier:
    """Build what a bundle's ``train.yaml`` describes up to the classifier, and load the weights it was trained to.

    The configuration gives the ids ``classifier#network``, ``classifier_dir`` (weights in its ``model.pt``),
    ``preprocessing``, ``splits``, ``device`` and, where it has one, ``crf`` (else the parameters of the Cfd-CAM paper).
    Volumes of the training split are not read.

    Args:
        config_files: ``train.yaml`` of a bundle and overlays, in order.
        overrides: further ids and values, as for ``python -m monai.bundle run``.

    Returns:
        The classifier and its data.

    Raises:
        FileNotFoundError: a missing configuration file, or no weights: the message says how to train them.
        ValueError: an id that the configuration does not have; weights that cannot be read or of another network.
    """
    source = Path(config_files[0])
    for path in config_files:
        if not Path(path).is_file():
            raise FileNotFoundError(f"Expected a configuration at {path}, found no such file; name a train.yaml.")
    parser = ConfigParser()
    parser.read_config([str(path) for path in config_files])
    _check_ids(parser, source, overrides or {})
    # find_bundle_root takes the path of the file from a run of the bundle; here there is none
    parser.update({"bundle_root": str(source.resolve().parent.parent)} | dict(overrides or {}))
    if "classifier#network#pretrained" in parser:
        parser["classifier#network#pretrained"] = False  # all weights come from model.pt
    network: nn.Module = parser.get_parsed_content("classifier#network")
    _load_weights(network, Path(parser.get_parsed_content("classifier_dir")) / "model.pt", source)
    device = torch.device(parser.get_parsed_content("device"))
    splits: Splits = parser.get_parsed_content("splits")
    return TrainedClassifier(
        network=network.to(device).eval(),
        prepare=parser.get_parsed_content("preprocessing"),
        splits={"validation": splits.validation, "test": splits.test},
        device=device,
        slice_axis=splits.slice_axis,
        min_area_fraction=splits.min_area_fraction,
        crf=_optional(parser, "crf", DenseCRF()),
    )


def _check_ids(parser: ConfigParser, source: Path, overrides: Mapping[str, Any]) -> None:
    for name in NEEDED_IDS:
        if name not in parser:
            raise ValueError(f"Expected the train.yaml of a bundle with a classifier, found no '{name}' in {source}.")
    for name in overrides:
        if name not in parser:
            raise ValueError(
                f"Expected options or ids of the configuration, found --{name}, but no '{name}' in {source}."
            )


def _optional(parser: ConfigParser, name: str, default: Any) -> Any:
    return parser.get_parsed_content(name) if name in parser else default


def _load_weights(network: nn.Module, path: Path, source: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the trained classifier at {path}, found no such file. Train it: python -m monai.bundle run "
            f"--config_file {source} --run \"['@check', '@classify']\" with the same arguments; or name the folder of "
            "a trained one with --classifier_dir DIR."
        )
    load_weights("classifier", [(network, path)])
