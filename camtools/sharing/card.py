"""The model card of a bundle that a training writes: ``docs/README.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from camtools.report.summaries import SCORES, Summary
from camtools.sharing.facts import Range, RunFacts

__all__ = ["write_card"]

CARD = """# {name}: trained model

{description}

This bundle was written at the end of a training. The settings of the training are the defaults of
`configs/inference.yaml`, so no knob has to be given.

## Data

{data}

## Input

Volumes (NIfTI, NRRD, MetaImage) or 2D images (PNG, BMP, TIFF) with {channels}. They are resampled and scaled as in the
training (`pixel_size`, `intensity`). Volumes that differ from those of the training (other spacings, scanners,
protocols or organs) may give wrong masks, and nothing warns of it.

## Output

- `predict` (the default run id) writes `<case>.nii.gz` to `predictions/`: uint8, 0 and 1, with the shape, affine and
  units of the input. 1 is *{target}*.
- `maps` writes `<case>_cam.nii.gz` to `maps/`: float32, 0..1, the activation map.

## Performance

{scores}

## Commands

Install camtools {camtools} first. Run the commands in the folder of this bundle. `FOLDER` holds volumes; the last
command needs a `dataset.json` in it, with masks of its `test` volumes.

```bash
python -m monai.bundle run --config_file configs/inference.yaml --dataset_dir FOLDER --output_dir OUT
python -m monai.bundle run maps --config_file configs/inference.yaml --dataset_dir FOLDER --output_dir OUT
python -m monai.bundle run --config_file "['configs/inference.yaml', 'configs/evaluate.yaml']" \\
    --dataset_dir FOLDER --output_dir OUT
```
{further}
## Settings

Method: `{method}`. A setting that shapes the network or its input cannot be changed: the weights refuse other values.

{settings}

## Versions

{versions}

## Intended use and limits

{intended_use}.

- The masks were learnt from tags of {unit}, not from outlines. The scores above are all that is known about them.
- Nothing is known about volumes from elsewhere. Score the model on volumes of your own, with masks, before you rely
  on it.

## References

{references}

## License

Configuration: Apache-2.0 ([LICENSE](../LICENSE)). Weights and data: [data_license.txt](data_license.txt).
"""

FURTHER = """
To train further on data of your own, `DIR` with a `dataset.json`:

```bash
python -m monai.bundle run --config_file configs/train.yaml --dataset_dir DIR --output_dir RUN
```

The settings are those of this training. {started}.
With `--initial_weights null`, nothing starts from the weights of this bundle. The new weights are in `RUN/models`, and
in a bundle such as this one, `RUN/bundle`.
"""
NO_SCORES = "No volume had a mask, so the masks of this model were not scored."
VALIDATION = "Masks of validation volumes chose the epoch, so scores on them are optimistic."


def write_card(
    metadata: Mapping[str, Any], facts: RunFacts, knobs: Mapping[str, Any], started: str | None = None
) -> str:
    """Text of the model card.

    Args:
        metadata: content of the bundle's ``metadata.json``.
        facts: of the run.
        knobs: values of the settings of the run by name.
        started: which network of a further training starts from which weights; None: the bundle has no ``train.yaml``.
    """
    return CARD.format(
        name=metadata["name"],
        description=metadata["description"],
        data=_data(facts),
        channels=_channels(facts),
        target=metadata["network_data_format"]["outputs"]["pred"]["channel_def"]["1"],
        scores=_performance(facts),
        camtools=facts.versions["camtools"],
        further="" if started is None else FURTHER.format(started=started),
        method=facts.method,
        settings=_table(("setting", "value"), [(f"`{name}`", f"`{_text(knobs[name])}`") for name in sorted(knobs)]),
        versions=_table(("package", "version"), list(facts.versions.items())),
        intended_use=metadata["intended_use"],
        unit=facts.unit,
        references="\n\n".join(metadata["references"]),
    )


def _channels(facts: RunFacts) -> str:
    number = "1 channel" if facts.channels == 1 else f"{facts.channels} channels"
    return f"{number}: {', '.join(facts.channel_names)}" if facts.channel_names else number


def _data(facts: RunFacts) -> str:
    rows = [(split.name, str(split.volumes), str(split.tagged), str(split.positive)) for split in facts.splits]
    lines = [_table(("split", "volumes", f"tagged {facts.unit}", "with the object"), rows), ""]
    if facts.in_plane is not None and facts.between is not None:
        lines.append(
            f"Spacing: pixels of {_span(facts.in_plane)} mm, slices {_span(facts.between)} mm apart. "
            f"The tags were {facts.tags}."
        )
    else:
        lines.append(f"2D images. The tags were {facts.tags}.")
    return "\n".join(lines)


def _performance(facts: RunFacts) -> str:
    if not facts.scores:
        return NO_SCORES
    heading = ("split", "volumes", *[score.heading for score in SCORES])
    lines = ["Masks of whole volumes, mean ± standard deviation over the volumes:", ""]
    lines += [_table(heading, [_score_row(summary) for summary in facts.scores])]
    if facts.pooled:
        lines += ["", "From the pixels of all images of a split:", "", _pooled_table(facts)]
    if any(summary.split == "validation" for summary in facts.scores):
        lines += ["", VALIDATION]
    return "\n".join(lines)


def _score_row(summary: Summary) -> tuple[str, ...]:
    cells = [summary.split, str(summary.count)]
    for score in SCORES:
        spread = summary.spreads.get(score.name)
        cells.append("-" if spread is None else f"{score.text(spread[0])} ± {score.text(spread[1])}")
    return tuple(cells)


def _pooled_table(facts: RunFacts) -> str:
    rows = []
    for row in facts.pooled:
        values = (row.miou, row.f1, row.object_dice, row.object_f1)
        shown = ["-" if value is None else f"{100 * value:.1f}" for value in values]
        rows.append((row.split, str(row.images), *shown))
    return _table(("split", "images", "mIoU (%)", "F1 (%)", "object Dice (%)", "object F1 (%)"), rows)


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _span(values: Range) -> str:
    low, high = values
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
