"""The sections of the report, each from one part of a run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from string import Template
from typing import Any

import yaml

from camtools.report.cells import BACKGROUND_COLOUR, FOREGROUND_COLOUR, colour_scale
from camtools.report.content import SPLITS, RunContent
from camtools.report.curves import Point, draw_curve, series
from camtools.report.extremes_section import extremes_section
from camtools.report.markup import UNKNOWN, note, scrolling, section, table, text
from camtools.report.overlays import COLOURS
from camtools.report.scores_section import scores_section
from camtools.report.sheet import SheetRow
from camtools.report.sheet_section import sheet_section
from camtools.report.summaries import OUTPUT_NAMES, SCORES, summarise
from camtools.report.viewer import Views
from camtools.report.viewer_section import view_data, viewer_section
from camtools.scores.metrics_csv import MetricsRow

__all__ = ["build_page"]

Card = tuple[str, str, str, str]


def build_page(run: RunContent, sheet: Sequence[SheetRow], views: Views) -> str:
    """The whole page: one HTML document that fetches nothing and runs no script but its own.

    Args:
        run: what the run left.
        sheet: rows of the contact sheet.
        views: cases of the viewer.
    """
    manifest = run.manifest.content or {}
    method = manifest.get("method") or "Report"
    sections = {
        "summary": ("Summary", _summary(run)),
        "extremes": ("Worst and best cases", extremes_section(run, views)),
        "viewer": ("Slices", viewer_section(run, views)),
        "scores": ("Scores", scores_section(run, views)),
        "curves": ("Training curves", _curves(run)),
        "sheet": ("Contact sheet", sheet_section(run, sheet)),
        "stages": ("Steps of the run", _stages(run)),
        "versions": ("Versions and configuration", _versions(run)),
    }
    sections = {name: (title, body) for name, (title, body) in sections.items() if body}
    template = _resource("template.html")
    script = _resource("report.js")
    return Template(template).substitute(
        title=text(f"{method}: {run.folder.resolve().name}"),
        method=text(method),
        foreground="rgb({} {} {})".format(*FOREGROUND_COLOUR),
        background="rgb({} {} {})".format(*BACKGROUND_COLOUR),
        pseudo_label="rgb({} {} {})".format(*COLOURS["pseudo_label"]),
        map_colours=", ".join("rgb({} {} {})".format(*colour) for colour in colour_scale(9).tolist()),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data="\n".join(view_data(views)),
        folder=text(run.folder.resolve().name),
        navigation="".join(f'<li><a href="#{name}">{text(title)}</a></li>' for name, (title, _) in sections.items()),
        sections="\n".join(section(name, title, body) for name, (title, body) in sections.items()),
    )


def _resource(name: str) -> str:
    return files("camtools.report").joinpath(name).read_text(encoding="utf-8")


def _summary(run: RunContent) -> str:
    cards = _volume_cards(run.dataset.content or []) + _score_cards(run.metrics.content or [])
    body = "".join(
        f"<div><dt>{text(name)}</dt><dd><b>{text(value)}</b> {text(spread)}<span>{text(detail)}</span></dd></div>"
        for name, value, spread, detail in cards
    )
    notes = [note(part.note) for part in (run.dataset, run.metrics) if part.note]
    return (f'<dl class="cards">{body}</dl>' if cards else "") + "".join(notes)


def _volume_cards(rows: Sequence[dict[str, Any]]) -> list[Card]:
    cards = []
    for split in [*SPLITS, *sorted({str(row.get("split")) for row in rows} - set(SPLITS))]:
        listed = [row for row in rows if row.get("split") == split]
        positive = sum(row.get("positive_slices", 0) for row in listed)
        slices = sum(row.get("slices", 0) for row in listed)
        if listed:
            tagged = f"{positive} of {slices} slices positive" if slices else "no slice tags"
            cards.append((f"Volumes, {split}", str(len(listed)), "", tagged))
    return cards


def _score_cards(rows: Sequence[MetricsRow]) -> list[Card]:
    cards = []
    for summary in summarise(rows):
        shown, unit = ["dice"], "slices"
        if summary.output == "prediction":
            distance = "hd95_mm" if "hd95_mm" in summary.spreads else "hd95_px"
            shown, unit = ["dice", distance], "volumes"
        for score in SCORES:
            if score.name not in shown:
                continue
            name = f"{OUTPUT_NAMES[summary.output]} {score.heading}, {summary.split}"
            mean, deviation = summary.spreads[score.name]
            spread = f"±\u00a0{score.text(deviation)}"
            cards.append((name, score.text(mean), spread, f"{unit}: {summary.count}"))
    return cards


def _curves(run: RunContent) -> str:
    if not run.histories:
        return note("This run trains no network.")
    figures, notes = [], []
    for network, history in run.histories.items():
        curves = series(history.content or [])
        figures += [_figure(f"{network} {name}", points) for name, points in curves.items()]
        if not curves:
            notes.append(note(f"{network.capitalize()}: {history.note or 'no epoch has ended yet.'}"))
    return f'<div class="curves">{"".join(figures)}</div>{"".join(notes)}'


def _figure(name: str, points: Sequence[Point]) -> str:
    return f"<figure><figcaption>{text(name[:1].upper() + name[1:])}</figcaption>{draw_curve(name, points)}</figure>"


def _stages(run: RunContent) -> str:
    stages = (run.manifest.content or {}).get("stages", {})
    if not stages:
        return note(run.manifest.note or "manifest.json records no step yet.")
    rows = []
    for name, record in stages.items():
        outputs = record.get("outputs")
        status = record.get("status", "unknown")
        rows.append(
            [
                name,
                "unfinished" if status == "running" else status,
                _duration(record.get("seconds")),
                UNKNOWN if outputs is None else len(outputs),
                UNKNOWN if outputs is None else f"{sum(outputs.values()) / 1e6:.1f}",
            ]
        )
    headings = ["Step", "Status", "Time", "Files", "Size (MB)"]
    return table("Steps in the order of their first start", headings, rows, numbers=3)


def _duration(seconds: float | None) -> str:
    """Seconds as ``h min s``.

    Example:
        >>> _duration(3725.4), _duration(8.25), _duration(None)
        ('1 h 2 min', '8.2 s', '-')
    """
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = round(seconds) // 60, round(seconds) // 3600
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {round(seconds) % 60} s"


def _versions(run: RunContent) -> str:
    manifest: dict[str, Any] = run.manifest.content or {}
    if not manifest:
        return note(run.manifest.note)
    rows = [[name, manifest[name]] for name in ("camtools", "python") if manifest.get(name)]
    rows += [[name, number] for name, number in manifest.get("versions", {}).items()]
    rows.append(["seed", "not set" if manifest.get("seed") is None else manifest["seed"]])
    config = text(yaml.safe_dump(manifest.get("config", {}), sort_keys=False, allow_unicode=True, width=100))
    details = scrolling("Configuration", f"<pre>{config}</pre>")
    return (
        table("What ran, and the seed of its random draws", ["Name", "Version"], rows)
        + f"<details><summary>Resolved configuration</summary>{details}</details>"
    )
