"""Sphinx extension: formulas as MathML, which browsers draw by themselves, without scripts or downloads."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator


def to_mathml(latex: str, display: str) -> str:
    """LaTeX to a ``math`` element; a formula that cannot be read stops the build."""
    try:
        formula = convert(latex, display=display)
    except Exception as error:
        raise SphinxError(f"cannot read the formula {latex!r}: {error!r}") from error
    if "\\" in formula:  # the converter copies commands it does not know
        raise SphinxError(
            f"a command of the formula {latex!r} is unknown to latex2mathml, which made {formula!r} of it"
        )
    return formula


def inline(writer: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a line."""
    writer.body.append(to_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def block(writer: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula in a line of its own."""
    number = f"<span class='eqno'>({get_node_equation_number(writer, node)})</span>" if node["number"] else ""
    writer.body.append(f"<div class='math' style='overflow-x: auto'>{number}{to_mathml(node.astext(), 'block')}</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
