"""The viewer's material: which cases the page can show, and each of them as JSON that the page decodes when asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from PIL import Image

from camtools.report.case_slices import CaseSlices, read_case
from camtools.report.content import RunContent
from camtools.report.markup import data_uri
from camtools.report.overlays import draw_layer, draw_slice, draw_thumbnail
from camtools.report.summaries import case_scores, ranked_predictions, split_place

__all__ = ["CaseView", "Views", "draw_views"]

PAGE_BYTES = 14_000_000
QUALITY, QUALITY_SMALL, SMALL = 80, 92, 160  # pictures of few pixels are enlarged: what JPEG loses would be seen
TRAINING_CASES = 8


@dataclass(frozen=True)
class CaseView:
    """One case of the viewer.

    Attributes:
        case: name of the case.
        split: its split.
        dice: Dice of its prediction, 0..1; None where it was not scored.
        data: its pictures and what is said about them, as JSON.
        thumbnail: data URI of its slice with the largest object.
    """

    case: str
    split: str
    dice: float | None
    data: str
    thumbnail: str


@dataclass(frozen=True)
class Views:
    """What the viewer can show.

    Attributes:
        cases: by split, test first, each in the order of the dataset check.
        notes: what was left out, and why.
    """

    cases: tuple[CaseView, ...] = ()
    notes: tuple[str, ...] = ()

    def number(self, case: str) -> int | None:
        """Position of a case; None where it is not in the viewer."""
        return next((number for number, view in enumerate(self.cases) if view.case == case), None)


def draw_views(run: RunContent, most_bytes: int = PAGE_BYTES) -> Views:
    """Draw all cases but those of training, and a few training cases, until the page has reached a size.

    The worst and best cases are drawn first, so that they are there when the size does not suffice for all.

    Args:
        run: what the run left.
        most_bytes: how large the data of all cases may become together.
    """
    views, unreadable, left_out, size = [], [], [], 0
    for case in _by_interest(run):
        if size >= most_bytes:
            left_out.append(case)
            continue
        try:
            view = _draw(run, read_case(run, case))
        except (OSError, ValueError, KeyError) as error:
            unreadable.append(f"{case} ({error})")
            continue
        size += len(view.data)
        views.append(view)
    listed = [str(row.get("case")) for row in run.dataset.content or []]
    views.sort(key=lambda view: (split_place(view.split), view.split, listed.index(view.case)))
    notes = [f"{_count(len(unreadable))} cannot be shown, the first: {unreadable[0]}"] if unreadable else []
    if left_out:
        notes.append(f"{_count(len(left_out))} left out to keep the page small: {_some(left_out)}.")
    return Views(tuple(views), tuple(notes))


def _by_interest(run: RunContent) -> list[str]:
    """Worst, best, second worst, ...; then cases without a score; then a few training cases."""
    splits = {str(row.get("case")): row.get("split") for row in run.dataset.content or []}
    ranked = [row.case for row in ranked_predictions(run.metrics.content or []) if row.case in splits]
    half = (len(ranked) + 1) // 2
    pairs = zip_longest(ranked[:half], reversed(ranked[half:]))
    rest = [case for case, split in splits.items() if split != "training"]
    training = [case for case, split in splits.items() if split == "training"][:TRAINING_CASES]
    return list(dict.fromkeys([*(case for pair in pairs for case in pair if case is not None), *rest, *training]))


def _draw(run: RunContent, slices: CaseSlices) -> CaseView:
    positions = range(len(slices.indices))
    layers = {}
    for key in slices.layers:
        pictures = (draw_layer(slices, key, position) for position in positions)
        layers[key] = ["" if picture is None else data_uri(picture) for picture in pictures]
    content = {
        "case": slices.case,
        "split": slices.split,
        "scores": case_scores(run.metrics.content or [], slices.case),
        "total": slices.total,
        "indices": slices.indices,
        "start": slices.start,
        "size": slices.size,
        "images": [_image_uri(draw_slice(slices, position)) for position in positions],
        "layers": layers,
        "notes": slices.notes,
    }
    # inside a script element only "<" could end the data
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return CaseView(slices.case, slices.split, run.dice(slices.case), data, data_uri(draw_thumbnail(slices)))


def _image_uri(picture: Image.Image) -> str:
    return data_uri(picture, QUALITY_SMALL if max(picture.size) <= SMALL else QUALITY)


def _count(number: int) -> str:
    return "1 case" if number == 1 else f"{number} cases"


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
