"""Files that tests of several bundles read and write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from PIL import Image


def values(path: Path) -> np.ndarray:
    return nib.load(path).get_fdata()


def prepared_slices(path: str) -> torch.Tensor:
    """Slices ``(Z, 1, X, Y)`` scaled to [0, 1], written without camtools' transforms."""
    slices = torch.from_numpy(values(Path(path)).astype(np.float32)).movedim(-1, 0)[:, None]
    low, high = slices.amin(dim=(1, 2, 3), keepdim=True), slices.amax(dim=(1, 2, 3), keepdim=True)
    return (slices - low) / (high - low)


def write_image(path: Path, array: np.ndarray) -> None:
    """Rows and columns as on a screen, with a colour axis at the end or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_photographs(folder: Path, colour: bool) -> Path:
    """PNG images of 40 x 48 pixels, every other one with a bright disc (in colour: a red one), and their masks."""
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {"labels": {"0": "background", "1": "disc"}}
    for split, count in (("training", 6), ("validation", 2), ("test", 2)):
        content[split] = []
        for index in range(count):
            image = rng.integers(60, 100, (40, 48, 3), np.uint8)
            rows, columns = np.ogrid[:40, :48]
            disc = ((rows - rng.integers(10, 16)) ** 2 + (columns - rng.integers(28, 36)) ** 2 < 40) & (index % 2 == 0)
            image[disc, 0] += 120
            if not colour:
                image = image[..., 0]
            write_image(folder / f"images/{split}_{index}.png", image)
            write_image(folder / f"labels/{split}_{index}.png", 255 * disc.astype(np.uint8))
            content[split].append({"image": f"images/{split}_{index}.png", "label": f"labels/{split}_{index}.png"})
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder
