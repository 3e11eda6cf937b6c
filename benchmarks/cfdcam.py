"""What each step from the authors' order of work to camtools' Cfd-CAM gains, and what it costs in accuracy.

One ResNet-18, slices of 240 x 240 at scales 1 and 2, every step in a process of its own (freed memory that is reused,
compiled code and threads of one step cannot help another), the steps in turn, round after round::

    uv run python benchmarks/cfdcam.py                                        # a phantom, untrained weights
    uv run python benchmarks/cfdcam.py --dataset DIR --classifier model.pt --slices 3 --rounds 2

The first step is the reference: one upsampled channel at a time, masked images in batches of 128, float32. ``error`` is
the largest difference of a map from the reference's, ``mask`` the share of pixels in which the dense CRF's masks
differ. ``floor`` is the time of the same number of plain forward passes in the type of the step, the best of a few
batch sizes: what is above it is spent on masks and memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.cams import CfdCAM
from camtools.crf import DenseCRF
from camtools.data import load_datalist
from camtools.data.phantoms import make_phantom
from camtools.data.volumes import read_volume
from camtools.fusion import normalize_min_max
from camtools.networks import ResNet18CAM
from camtools.precision import computes_in
from camtools.process import reuse_memory

SIZE = 240
SCALES = (1.0, 2.0)


def straightforward(model: nn.Module, image: Tensor, scales: Iterable[float] = SCALES, batch: int = 128) -> Tensor:
    """Cfd-CAM in the order of the authors' code, for one image ``(1, 1, H, W)`` and one logit."""
    total = torch.zeros_like(image)
    for scale in scales:
        size = tuple(round(length * scale) for length in image.shape[2:])
        resized = F.interpolate(image, size=size, mode="bilinear", align_corners=False)
        features, logits = features_and_logits(model, resized)
        own = logits.sigmoid()
        blank = model(torch.zeros_like(resized)).sigmoid()
        masks = []
        for channel in features[0]:
            mask = F.interpolate(channel[None, None], size=size, mode="bilinear", align_corners=False)
            span = mask.max() - mask.min()
            masks.append((mask - mask.min()) / span if span > 0 else torch.zeros_like(mask))
        inputs = [mask * resized for mask in masks]
        parts = [torch.cat(inputs[start : start + batch]) for start in range(0, len(inputs), batch)]
        confidence = torch.cat([model(part) for part in parts]).sigmoid()[:, 0]
        confidence = torch.where(confidence >= blank[0], confidence, 0)
        weights = confidence / confidence.sum().clamp(min=1e-12)
        summed = sum(weight * mask for weight, mask in zip(weights, masks, strict=True))
        scaled = normalize_min_max(summed) * own
        total += F.interpolate(scaled, size=image.shape[2:], mode="bilinear", align_corners=False) / len(tuple(scales))
    return total


def features_and_logits(model: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    kept: list[Tensor] = []
    hook = model.layer4.register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = model(image)
    hook.remove()
    return kept[0], logits


def ours(reuse: bool = True, compiled: bool = False, **options: object) -> Callable[[nn.Module, Tensor], Tensor]:
    """CfdCAM with some settings."""
    built: list[CfdCAM] = []

    def run(model: nn.Module, image: Tensor) -> Tensor:
        if not built:
            if reuse:
                reuse_memory()
            built.append(CfdCAM(torch.compile(model) if compiled else model, ["layer4"], SCALES, **options))
        return built[0](image, target=0)

    return run


HALF = torch.bfloat16
STEPS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "authors' order of work, float32": straightforward,
    "CfdCAM: masks in chunks, channels last": ours(reuse=False),
    "+ freed memory is reused": ours(),
    "+ compiled": ours(compiled=True),
    "+ bfloat16 passes, not compiled": ours(scoring_dtype=HALF),
    "bfloat16 passes, 3/8 of the channels": ours(scoring_dtype=HALF, channel_share=0.375),
    "bfloat16 passes, 1/4 of the channels": ours(scoring_dtype=HALF, channel_share=0.25),
    "bfloat16 passes, 1/8 of the channels": ours(scoring_dtype=HALF, channel_share=0.125),
}


def classifier(path: str | None, width: float = 1.0) -> ResNet18CAM:
    torch.manual_seed(0)
    model = ResNet18CAM(width=width)
    if path:
        model.load_state_dict(torch.load(path, weights_only=True))
    else:
        model.train()(torch.rand(8, 1, SIZE, SIZE))  # statistics of batch norm that fit the weights
        nn.init.normal_(model.fc.weight, std=0.5)  # confidences that differ
    return model.eval()


def slices(options: argparse.Namespace) -> Tensor:
    """Slices ``(N, 1, 240, 240)`` in [0, 1]: the ones with most tumour, one of each volume."""
    volumes: list[tuple[Tensor, Tensor]]
    if options.dataset:
        items = load_datalist(options.dataset, "validation")[: options.slices]
        volumes = [
            (read_volume(item["image"]).as_tensor()[0], read_volume(item["label"]).as_tensor()[0] > 0) for item in items
        ]
    else:
        phantoms = [make_phantom("tumour", seed) for seed in range(options.slices)]
        volumes = [(torch.from_numpy(one.image), torch.from_numpy(one.mask) > 0) for one in phantoms]
    pictures = []
    for image, mask in volumes:
        picture = torch.as_tensor(image[..., int(mask.sum(dim=(0, 1)).argmax())], dtype=torch.float32)
        pictures.append(F.interpolate(picture[None, None], size=(SIZE, SIZE), mode="bilinear", align_corners=False))
    return normalize_min_max(torch.cat(pictures))


def run_step(name: str, options: argparse.Namespace) -> None:
    """Child process: maps and seconds of every slice."""
    model, images = classifier(options.classifier), slices(options)
    seconds, maps = [], []
    with torch.no_grad():
        STEPS[name](model, images[:1] if "compiled" in name else images[:1, :, :64, :64])
        for image in images:
            start = time.perf_counter()
            maps.append(STEPS[name](model, image[None]))
            seconds.append(time.perf_counter() - start)
    torch.save({"seconds": seconds, "maps": torch.cat(maps)}, options.out)


def floor_seconds(options: argparse.Namespace, dtype: torch.dtype) -> float:
    """Seconds of one slice's masked passes as plain passes: 512 at each scale, of pixels that grow with its square."""
    reuse_memory()
    model = classifier(options.classifier).to(dtype)
    best = float("inf")
    for batch in (4, 16):
        images = torch.rand(batch, 1, SIZE, SIZE).to(dtype).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            for _ in range(6):
                start = time.perf_counter()
                model(images)
                best = min(best, (time.perf_counter() - start) / batch)
    return best * 512 * sum(scale**2 for scale in SCALES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", help="folder with dataset.json; slices of its validation volumes")
    parser.add_argument("--classifier", help="weights of a ResNet18CAM of one channel and one logit")
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the steps, 0 being the reference")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        run_step(options.step, options)
        return
    names = [name for number, name in enumerate(STEPS) if options.only is None or number in {0, *options.only}]
    types = [torch.float32]
    if computes_in(HALF, "cpu"):
        types.append(HALF)
    else:
        print("No steps in bfloat16: this processor has no instructions for it.", file=sys.stderr)
        names = [name for name in names if "bfloat16" not in name]
    results: dict[str, list[dict]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            results[name].append(run_in_child(name))
            print(
                f"{name}: {statistics.median(results[name][-1]['seconds']):.2f} s a slice", file=sys.stderr, flush=True
            )
    floors = {dtype: floor_seconds(options, dtype) for dtype in types}
    report(results, floors, slices(options), options.json)


def run_in_child(name: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "step.pt"
        subprocess.run([sys.executable, *sys.argv, "--step", name, "--out", str(out)], check=True)
        return torch.load(out, weights_only=True)


def seconds_of(runs: list[dict]) -> float:
    return statistics.median([seconds for run in runs for seconds in run["seconds"]])


def report(results: dict[str, list[dict]], floors: dict[torch.dtype, float], images: Tensor, path: str | None) -> None:
    """Print the table; the first step is the reference of all columns."""
    reference, *_ = results
    crf = DenseCRF()
    truth = crf(images, results[reference][0]["maps"])[:, 1] > 0.5
    base = seconds_of(results[reference])
    rows = []
    print("| Step | s a slice | faster | of the floor | error | mask |\n|---|---|---|---|---|---|")
    for name, runs in results.items():
        took = seconds_of(runs)
        maps = runs[0]["maps"]
        error = float((maps - results[reference][0]["maps"]).abs().max())
        mask = float(((crf(images, maps)[:, 1] > 0.5) != truth).float().mean())
        ratio = took / floors[HALF if "bfloat16" in name else torch.float32]
        rows.append({"step": name, "seconds": took, "faster": base / took, "error": error, "mask": mask})
        print(f"| {name} | {took:.2f} | {base / took:.1f} x | {ratio:.2f} | {error:.1e} | {100 * mask:.2f} % |")
    shown = ", ".join(f"{seconds:.2f} s in {str(dtype).removeprefix('torch.')}" for dtype, seconds in floors.items())
    print(f"\nFloor: {shown}.")
    print(f"{len(images)} slices, {torch.get_num_threads()} threads, torch {torch.__version__}.")
    if path:
        Path(path).write_text(json.dumps({"rows": rows, "floor": {str(key): value for key, value in floors.items()}}))


if __name__ == "__main__":
    main()
