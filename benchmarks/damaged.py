"""500 damaged NIfTI and 100 damaged PNG/BMP files in two folders with good ones: what is done, refused and used.

    python benchmarks/damaged.py

Every volume goes through a VolumePipeline (read, threshold, write a mask). It fails when a good file is not done, a
refusal shows the name of an exception, or the memory exceeds 1.5 GB.
"""

from __future__ import annotations

import re
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from camtools.data import list_volumes
from camtools.engine.pipelines import VolumePipeline, VolumesFailedError
from camtools.transforms import LoadVolumed
from tests.damaged_files import damaged_nifti, damaged_pictures, whole_nifti, whole_picture

RAW = re.compile(r"\w*(Error|Exception|Warning)\b|Traceback|zlib|errno", re.IGNORECASE)
GOOD = 20


def write(folder: Path) -> None:
    """The two folders."""
    volumes, pictures = folder / "volumes", folder / "pictures"
    volumes.mkdir()
    pictures.mkdir()
    for damaged in damaged_nifti(500, seed=11):
        (volumes / damaged.name).write_bytes(damaged.content)
    for damaged in damaged_pictures(100, seed=11):
        (pictures / damaged.name).write_bytes(damaged.content)
    for index in range(GOOD):
        (volumes / f"good{index}.nii").write_bytes(whole_nifti())
        (pictures / f"good{index}.png").write_bytes(whole_picture("PNG"))


def threshold(data: dict[str, Any]) -> dict[str, Any]:
    """Stands for a network."""
    return data | {"pred": (data["image"][:1] > 100).float()}


def main() -> None:
    """Run and report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        fine = True
        for kind in ("volumes", "pictures"):
            items, start = list_volumes(folder / kind), time.perf_counter()
            out = folder / f"out_{kind}"
            pipeline = VolumePipeline(
                "predict", items, [LoadVolumed("image"), threshold], {"pred": ".nii.gz"}, out, "uint8"
            )
            failed: list[tuple[str, str]] = []
            try:
                pipeline.run()
            except VolumesFailedError as error:
                failed = error.failed
            done = [item for item in items if pipeline.output_path(item, "pred").is_file()]
            good = sum(Path(item["image"]).name.startswith("good") for item in done)
            raw = [text for _, text in failed if RAW.search(text)]
            unnamed = [path for path, text in failed if path not in text]
            print(
                f"{kind}: {len(items)} files, {len(done)} done ({good} of {GOOD} good ones), {len(failed)} refused, "
                f"{len(raw)} of them with a raw exception, {len(unnamed)} without the file, "
                f"{time.perf_counter() - start:.1f} s"
            )
            shapes = Counter(re.sub(r"\S*/|\d[\d.e+]*|b'.*'", "_", text)[:90] for _, text in failed)
            for text, count in shapes.most_common():
                print(f"  {count:4} {text}")
            fine &= good == GOOD and not raw and not unnamed and len(done) + len(failed) == len(items)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"peak memory {peak:.2f} GB")
    sys.exit(not (fine and peak < 1.5))


if __name__ == "__main__":
    main()
