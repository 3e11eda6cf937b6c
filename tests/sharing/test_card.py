"""The model card: what it says, and how."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from camtools.report.summaries import Summary
from camtools.scores.pooled import PooledRow
from camtools.sharing.card import write_card
from camtools.sharing.facts import RunFacts, SplitFacts

FACTS = RunFacts(
    method="umcam",
    target="tumour",
    unit="slices",
    tags="given for 2 of 2 training volumes",
    channels=1,
    channel_names=[],
    splits=[SplitFacts("training", 2, 40, 13), SplitFacts("test", 1, 20, 5)],
    in_plane=(0.5, 0.5),
    between=(3.0, 4.5),
    scores=[Summary("test", "prediction", 1, {"dice": (0.875, 0.0), "hd95_mm": (2.5, 1.0)})],
    pooled=[],
    versions={"camtools": "9.8.7", "torch": "1.2"},
)
METADATA = {
    "name": "UM-CAM",
    "description": "What it does.",
    "intended_use": "Research only",
    "references": ["First paper", "Second paper"],
    "network_data_format": {"outputs": {"pred": {"channel_def": {"1": "tumour"}}}},
}


def card(**changes: Any) -> str:
    return write_card(METADATA, replace(FACTS, **changes), {"width": 0.5, "norm": None, "features": [4, 8]})


def test_numbers_of_the_run_are_in_it() -> None:
    text = card()
    assert text.startswith("# UM-CAM: trained model\n\nWhat it does.\n")
    assert "| training | 2 | 40 | 13 |\n| test | 1 | 20 | 5 |\n" in text
    assert "pixels of 0.5 mm, slices 3 to 4.5 mm apart. The tags were given for 2 of 2 training volumes." in text
    assert "| split | volumes | Dice (%) | IoU (%) | HD95 (pixels) | HD95 (mm) |" in text
    assert "| test | 1 | 87.5 ± 0.0 | - | - | 2.50 ± 1.00 |" in text
    assert "| `features` | `[4, 8]` |\n| `norm` | `null` |\n| `width` | `0.5` |" in text
    assert "| camtools | 9.8.7 |" in text
    assert "1 is *tumour*" in text
    assert "First paper\n\nSecond paper" in text
    assert "optimistic" not in text
    assert "{" not in text


def test_train_further() -> None:
    assert "configs/train.yaml" not in card()
    text = write_card(METADATA, FACTS, {}, "The classifier starts from `models/model.pt`")
    assert "--config_file configs/train.yaml --dataset_dir DIR --output_dir RUN" in text
    assert "those of this training. The classifier starts from `models/model.pt`.\n" in text


def test_what_validation_scores_mean_is_said() -> None:
    scores = [Summary("validation", "prediction", 3, {"dice": (0.9, 0.1)})]
    assert "Masks of validation volumes chose the epoch, so scores on them are optimistic." in card(scores=scores)


def test_no_scores_and_flat_images() -> None:
    text = card(scores=[], in_plane=None, between=None, channels=3)
    assert "No volume had a mask, so the masks of this model were not scored." in text
    assert "2D images. The tags were given" in text
    assert "(PNG, BMP, TIFF) with 3 channels." in text
    assert "with 2 channels: T1, FLAIR. They" in card(channels=2, channel_names=["T1", "FLAIR"])


def test_pooled_scores() -> None:
    row = PooledRow("test", "prediction", 4, 0.8, 0.85, 0.875, 0.9, 0.7, object_dice=0.75)
    assert "| test | 4 | 80.0 | 87.5 | 75.0 | - |" in card(pooled=[row])
