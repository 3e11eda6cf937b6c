"""The pictures of the documentation, made by the code they explain.

After ``make demo``, whose classifier and segmenter they show::

    python docs/make_figures.py runs/demo
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from monai.networks.nets import BasicUNet
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from camtools.cams import GradCAM
from camtools.data import builtin_dataset, load_datalist, volume_to_slices
from camtools.data.phantoms import Photograph, make_phantom
from camtools.fusion import normalize_max, normalize_min_max, uncertainty_weighted_mean
from camtools.geodesic import geodesic_distance, spl_from_seeds
from camtools.networks import VGG16CAM
from camtools.patches import PatchGrid
from camtools.report.panels import to_display
from camtools.seeds import Seeds, seeds_from_cam
from camtools.transforms import PrepareVolumed, ScaleSlicesd

IMAGES = Path(__file__).parent / "img"
TAG_COLOURS = {(True, False): "tab:blue", (False, True): "tab:red", (True, True): "gold"}  # background, gland
TAG_NAMES = {(True, False): "0: other tissue", (False, True): "1: gland", (True, True): "0 1: both"}


def save(figure: Figure, name: str) -> None:
    """Write ``docs/img/<name>.png`` with 256 colours."""
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / f"{name}.png"
    figure.savefig(path, dpi=110, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def draw(
    axes: Axes, values: Tensor | NDArray[Any], title: str, colours: str = "gray", over: Tensor | None = None
) -> None:
    """One slice ``(X, Y)`` as a screen shows it; ``over`` is a map on top of it."""
    axes.imshow(to_display(np.asarray(values)), cmap=colours)
    if over is not None:
        axes.imshow(to_display(over.numpy()), cmap="inferno", alpha=0.6, vmin=0, vmax=1)
    axes.set_title(title, fontsize=9)
    axes.axis("off")


def draw_seeds(axes: Axes, seeds: Seeds) -> None:
    """Foreground seed in green, background seeds in red."""
    for mask, colour in ((seeds.foreground, "lime"), (seeds.background, "red")):
        rows, columns = np.nonzero(to_display(mask[0, 0].numpy()))
        axes.scatter(columns, rows, s=28, c=colour, edgecolors="black", linewidths=0.6)


def outline(axes: Axes, mask: Tensor, colour: str, width: float) -> None:
    """Edge of a boolean slice."""
    axes.contour(to_display(mask.numpy().astype(float)), levels=[0.5], colors=colour, linewidths=width)


def slice_tags(slices: Tensor, masks: Tensor) -> None:
    """Every slice of a volume with its tag."""
    columns = 8
    rows = -(-len(slices) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(1.25 * columns, 1.25 * rows))
    for axes in grid.flat:
        axes.axis("off")
    for index, (axes, image, mask) in enumerate(zip(grid.flat, slices, masks, strict=False)):
        draw(axes, image[0], f"slice {index + 1}: {int((mask > 0).any())}")
    save(figure, "slice_tags")


def tag_to_mask(image: Tensor, mask: Tensor, runs: Path) -> None:
    """One slice through the whole method; ``make demo`` left the networks in ``runs``."""
    classifier = VGG16CAM(in_channels=1, num_classes=2, width=0.25, norm="batch").eval()
    classifier.load_state_dict(torch.load(runs / "classifier/model.pt", weights_only=True))
    maps = normalize_max(GradCAM(classifier, layers=classifier.cam_layers)(image, target=1))
    cam = normalize_min_max(uncertainty_weighted_mean(maps))
    seeds = seeds_from_cam(cam, threshold=0.4)
    label = spl_from_seeds(image, seeds)[0, 1]
    segmenter = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=(16, 16, 32, 64, 128, 16)).eval()
    segmenter.load_state_dict(torch.load(runs / "umcam+spl/segmenter/model.pt", weights_only=True))
    with torch.no_grad():
        prediction = segmenter(image).argmax(dim=1)[0]
    figure, grid = plt.subplots(2, 4, figsize=(9.5, 4.2))
    picture = image[0, 0]
    draw(grid[0, 0], picture, "a slice with the tag 1")
    for axes, layer in zip(grid[0, 1:], (0, 2, 4), strict=True):
        draw(axes, picture, f"activation map of block {layer + 1}", over=maps[0, layer])
    draw(grid[1, 0], picture, "fused map", over=cam[0, 0])
    draw(grid[1, 1], picture, "seeds")
    draw_seeds(grid[1, 1], seeds)
    draw(grid[1, 2], picture, "pseudo-label", over=label)
    draw(grid[1, 3], picture, "prediction (red), truth (green)")
    outline(grid[1, 3], mask[0, 0] > 0, "lime", 2.2)
    outline(grid[1, 3], prediction == 1, "red", 1.2)
    save(figure, "tag_to_mask")
    geodesic(image, seeds, label)


def geodesic(image: Tensor, seeds: Seeds, label: Tensor) -> None:
    """Distances to the seeds, and the probability they make."""
    scaled = (image - image.mean()) / image.std()
    figure, grid = plt.subplots(1, 4, figsize=(9.5, 2))
    draw(grid[0], image[0, 0], "seeds")
    draw_seeds(grid[0], seeds)
    for axes, mask, name in zip(grid[1:], (seeds.foreground, seeds.background), ("green", "red"), strict=False):
        draw(axes, geodesic_distance(scaled, mask)[0, 0], f"distance to the {name} seeds", "viridis")
    draw(grid[3], label, "probability of the foreground", "inferno")
    save(figure, "geodesic")


def patch_tags(photograph: Photograph) -> None:
    """A gland phantom cut into patches, each framed in the colour of its tag."""
    grid = PatchGrid(size=32, stride=32)
    height, width = (side // 32 * 32 for side in photograph.mask.shape)  # no overlaps, which would hide frames
    labels = torch.from_numpy((photograph.mask[:height, :width] > 0).astype(np.int64))[None, None]
    present = grid.class_shares(labels, 2)[0] > 0.05
    figure, axes = plt.subplots(figsize=(5.5, 5.5))
    axes.imshow(photograph.image[:height, :width])
    for (row, column), classes in zip(grid.corners(height, width), present.tolist(), strict=True):
        colour = TAG_COLOURS[tuple(classes)]
        axes.add_patch(Rectangle((column + 1, row + 1), 28, 28, fill=False, edgecolor=colour, linewidth=1.6))
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in TAG_COLOURS.values()]
    axes.legend(handles, TAG_NAMES.values(), loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, frameon=False)
    axes.axis("off")
    save(figure, "patch_tags")


def main() -> None:
    """Write every picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="output folder of make demo")
    runs = parser.parse_args().runs
    item = load_datalist(builtin_dataset("fetal_brain", n=40), "test")[0]
    volume = ScaleSlicesd("image")(PrepareVolumed(pixel_size=1.0)({key: item[key] for key in ("image", "label")}))
    slices, masks = (volume_to_slices(volume[key].as_tensor()) for key in ("image", "label"))
    slice_tags(slices, masks)
    largest = int(masks.flatten(1).sum(dim=1).argmax())
    tag_to_mask(slices[largest : largest + 1], masks[largest : largest + 1], runs)
    photograph = make_phantom("gland", seed=1)
    if not isinstance(photograph, Photograph):
        raise TypeError(f"expected a photograph of kind gland, got {type(photograph).__name__}")
    patch_tags(photograph)


if __name__ == "__main__":
    main()
