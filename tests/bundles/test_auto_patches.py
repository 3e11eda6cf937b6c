"""``bundles/auto`` from tags of patches: the overlay ``patches.yaml``."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from camtools.scores.pooled import read_pooled
from tests.bundles.conftest import AUTO, infer, train
from tests.bundles.files import write_photographs

PATCHES = {
    "patch_size": 32,
    "patch_stride": 16,
    "map_scales": [1.0],
    "crops_per_image": 1,
    "in_channels": 3,
    "classifier_epochs": 1,
    "segmenter_epochs": 1,
}


def test_patch_tags_train_and_segment_colour_images(tmp_path: Path) -> None:
    data = write_photographs(tmp_path / "data", colour=True)
    run = train(AUTO, data, tmp_path, *AUTO.files("patches.yaml"), **PATCHES)
    stages = json.loads((run / "manifest.json").read_text())["stages"]
    assert list(stages) == [name for name in AUTO.stages if name != "tune"]
    rows = {(row.split, row.output) for row in read_pooled(run / "pooled_metrics.csv")}
    assert rows == {(split, output) for split in ("validation", "test") for output in ("pseudo_mask", "prediction")}
    assert not (tmp_path / "models/choice.json").exists()

    knobs = {"in_channels": 3, "intensity": "slice", "test_scales": [0.5], "members": 1}
    masks = infer(AUTO, data, tmp_path / "out", tmp_path / "models", **knobs)
    written = sorted(masks.rglob("*.nii.gz"))
    assert len(written) == 2
    for path in written:
        trained = nib.load(run / "predictions" / path.relative_to(masks))
        np.testing.assert_array_equal(nib.load(path).get_fdata(), trained.get_fdata())
