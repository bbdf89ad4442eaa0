"""Equations as MathML, which browsers draw by themselves: the site needs no network and no script for them."""

import re

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

# The prime is a raised sign already: as a superscript it would fly away.
PRIME = re.compile(r"<msup>((?:(?!<msup>).)*?)<m[oi]>&#x02032;</m[oi]></msup>")
PRIME_BESIDE_INDEX = re.compile(r"<msubsup>((?:(?!<msubsup>).)*?)<m[oi]>&#x02032;</m[oi]></msubsup>")
SIGN = '<mo lspace="0" rspace="0">&#x02032;</mo>'


def mathml(text: str, display: str = "inline") -> str:
    """An equation of LaTeX as MathML."""
    found = convert(text, display=display)
    found = PRIME_BESIDE_INDEX.sub(rf"<mrow><msub>\1</msub>{SIGN}</mrow>", found)
    return PRIME.sub(rf"<mrow>\1{SIGN}</mrow>", found)


def inline(self, node: nodes.math) -> None:
    """An equation within a line."""
    self.body.append(f'<span class="math">{mathml(node.astext())}</span>')
    raise nodes.SkipNode


def block(self, node: nodes.math_block) -> None:
    """An equation by itself; several lines are aligned."""
    text = node.astext()
    if "\\\\" in text and "\\begin" not in text:
        text = rf"\begin{{aligned}}{text}\end{{aligned}}"
    self.body.append(f'<div class="math" tabindex="0">{mathml(text, "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
