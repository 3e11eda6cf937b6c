"""The viewer on the page: its controls, and the data that ``report.js`` reads into it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from camtools.report.case_slices import LAYERS
from camtools.report.content import RunContent
from camtools.report.markup import note, text
from camtools.report.summaries import SCORES
from camtools.report.viewer import CaseView, Views

__all__ = ["view_data", "view_link", "viewer_section"]

SHOWN_AT_FIRST = ("prediction", "truth")


def view_link(number: int) -> str:
    """Where a case of the viewer is found on the page."""
    return f"#view-{number}"


def view_data(views: Views) -> Iterator[str]:
    """One element of data per case: the browser keeps it as text until the user opens the case."""
    for number, view in enumerate(views.cases):
        yield f'<script type="application/json" id="view-{number}">{view.data}</script>'


def viewer_section(run: RunContent, views: Views) -> str:
    """Picture, choice of case, slice, layers and their opacity; notes say what is left out.

    Args:
        run: what the run left.
        views: from :func:`camtools.report.viewer.draw_views`.
    """
    notes = "".join(note(message) for message in views.notes)
    if not views.cases:
        return notes or note(run.dataset.note or "The run lists no case.")
    layers = "".join(_layer(number, key) for number, key in enumerate(LAYERS, start=1))
    return f"""
<noscript><p>Scrolling through slices needs JavaScript; the script is part of this file.</p></noscript>
<div class="viewer" id="slices" hidden>
<div class="choice"><label for="case">Case (Dice)</label>
<button type="button" id="previous" aria-label="Previous case">&lsaquo;</button>
<select id="case">{"".join(_options(views))}</select>
<button type="button" id="next" aria-label="Next case">&rsaquo;</button></div>
<div class="picture"><canvas id="picture" role="img" tabindex="0" aria-describedby="viewer-help"></canvas></div>
<div class="controls">
<p class="state" id="state" role="status"></p>
<p class="soft" id="scores-of-case"></p>
<div class="row" id="slice-row"><label for="slice">Slice</label><input type="range" id="slice" min="1" value="1">
<output id="slice-value" for="slice"></output><div class="marks" id="marks" aria-hidden="true"></div></div>
<div class="row"><label for="opacity">Opacity</label><input type="range" id="opacity" min="0" max="100" value="80">
<output id="opacity-value" for="opacity">80 %</output></div>
<fieldset><legend>Overlays</legend>{layers}</fieldset>
<p class="case-notes note" id="case-notes" hidden></p>
<p class="soft" id="viewer-help"><span class="keys"><span id="slice-help">Arrow keys or the mouse wheel over the picture
scroll through the slices. </span>Keys 1 to {len(LAYERS)} switch overlays. </span>Dots under the slider mark slices with
truth or prediction. Superior or anterior is up, the patient's right on the right (sagittal: anterior on the right);
photographs are shown as they are. Masks of training cases are not shown.</p>
</div></div>{notes}"""


def _options(views: Views) -> Iterator[str]:
    numbered = enumerate(views.cases)
    for split, group in groupby(numbered, key=lambda entry: entry[1].split):
        options = "".join(f'<option value="{number}">{text(_title(view))}</option>' for number, view in group)
        yield f'<optgroup label="{text(split)}">{options}</optgroup>'


def _title(view: CaseView) -> str:
    return view.case if view.dice is None else f"{view.case} ({SCORES[0].text(view.dice)} %)"


def _layer(number: int, key: str) -> str:
    checked = " checked" if key in SHOWN_AT_FIRST else ""
    return (
        f'<label><input type="checkbox" name="layer" value="{key}"{checked} aria-keyshortcuts="{number}">'
        f'<span class="swatch layer-{key}"></span>{LAYERS[key]}</label>'
    )
