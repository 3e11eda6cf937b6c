"""Worst and best cases as pictures that lead to the viewer: where a run fails is seen first."""

from __future__ import annotations

from camtools.report.content import RunContent
from camtools.report.markup import name, text
from camtools.report.summaries import SCORES, ranked_predictions
from camtools.report.viewer import Views
from camtools.report.viewer_section import view_link
from camtools.scores.metrics_csv import MetricsRow

__all__ = ["extremes_section"]

MOST = 4


def extremes_section(run: RunContent, views: Views) -> str:
    """Up to four cases from either end of the ranking by Dice; empty where fewer than two cases are scored."""
    ranked = ranked_predictions(run.metrics.content or [])
    number = min(MOST, len(ranked) // 2)
    if not number:
        return ""
    worst, best = (
        f"<div><h3>{heading}</h3><ul>{''.join(_card(row, views) for row in rows)}</ul></div>"
        for heading, rows in (("Worst", ranked[:number]), ("Best", ranked[: -number - 1 : -1]))
    )
    return f'<div class="extremes">{worst}{best}</div>'


def _card(row: MetricsRow, views: Views) -> str:
    dice = f"{SCORES[0].text(row.scores.dice)} %"
    words = f"<b>{dice}</b> {name(row.case)}<span>{text(row.split)}</span>"
    number = views.number(row.case)
    if number is None:
        return f"<li>{words}</li>"
    picture = f'<img src="{views.cases[number].thumbnail}" alt="" loading="lazy">'
    return f'<li><a href="{view_link(number)}">{picture}{words}</a></li>'
