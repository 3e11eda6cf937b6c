"""Which threshold of the fused map gives the best seeds? Dice of the seed-derived pseudo-label on validation slices.

Uses the fused maps that a run of ``bundles/umcam`` wrote::

    python benchmarks/seed_threshold.py RUN                          # built-in phantoms
    python benchmarks/seed_threshold.py RUN --dataset-dir DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from monai.transforms import Compose
from torch import Tensor

from camtools.data import builtin_dataset, load_datalist, volume_to_slices
from camtools.data.slice_dataset import pseudo_label_files
from camtools.fusion import normalize_min_max
from camtools.geodesic import spl_from_seeds
from camtools.metrics import dice
from camtools.seeds import seeds_from_cam
from camtools.thresholds import intra_class_variance, otsu
from camtools.transforms import LoadVolumed, ScaleSlicesd, SliceAxisLastd

KEYS = ("image", "label", "cam")
CONSTANTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def positive_slices(run: Path, dataset_dir: Path) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Image, mask and fused map (scaled to its range) of the positive slices of each validation volume."""
    prepare = Compose([LoadVolumed(KEYS), SliceAxisLastd(KEYS), ScaleSlicesd("image")])
    volumes = []
    for item in load_datalist(dataset_dir, "validation"):
        paths = {"cam": pseudo_label_files(run / "pseudo_labels", item)["cam"]}
        data = prepare({key: item[key] for key in ("image", "label")} | paths)
        image, mask, cam = (volume_to_slices(data[key].as_tensor()) for key in KEYS)
        kept = (mask > 0.5).flatten(1).any(dim=1)
        volumes.append((image[kept].contiguous(), mask[kept] > 0.5, normalize_min_max(cam[kept])))
    return volumes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output folder of a run")
    parser.add_argument("--dataset-dir", type=Path, help="its dataset; default: the built-in phantoms")
    options = parser.parse_args()
    dataset_dir = options.dataset_dir or Path(builtin_dataset("fetal_brain", n=40))
    scores: dict[str, list[Tensor]] = {}
    for image, mask, cam in positive_slices(options.run, dataset_dir):
        rules = {"auto": intra_class_variance(image, cam), "otsu": otsu(cam)} | {str(t): t for t in CONSTANTS}
        for name, threshold in rules.items():
            label = spl_from_seeds(image, seeds_from_cam(cam, threshold))[:, 1:]
            scores.setdefault(name, []).append(dice(label > 0.5, mask))
    print(f"Dice of the pseudo-label on {sum(map(len, scores['auto']))} positive validation slices")
    for name, values in scores.items():
        print(f"{name:>6}  {torch.cat(values).mean():.3f}")


if __name__ == "__main__":
    main()
