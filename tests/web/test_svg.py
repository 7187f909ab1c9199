"""Plots inside a page: drawings only."""

from __future__ import annotations

import io

import pytest

from besana.errors import CorruptDataError
from besana.web.svg import clean_svg

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 90 20">{}</svg>'


@pytest.mark.parametrize(
    "evil",
    [
        "<script>alert(1)</script>",
        '<rect onload="alert(1)"/>',
        '<foreignObject><b xmlns="http://www.w3.org/1999/xhtml">x</b></foreignObject>',
        '<image href="https://example.org/x.png"/>',
        '<use href="https://example.org/x.svg#a"/>',
        '<rect fill="url(https://example.org/x)"/>',
        '<a href="javascript:alert(1)"><rect/></a>',
        "<style>@import 'https://example.org/x.css'</style>",
        '<rect style="background: url(https://example.org/x)"/>',
        '<image href="data:image/svg+xml;base64,PHN2Zz4="/>',
    ],
)
def test_what_is_no_drawing_is_left_out(evil: str) -> None:
    cleaned = clean_svg(SVG.format(evil + '<rect width="1"/>'), "a-")
    assert not any(word in cleaned for word in ("alert", "example.org", "<b", "PHN2Zz4"))
    assert '<rect width="1"' in cleaned


def test_entities_are_refused() -> None:
    bomb = '<!DOCTYPE svg [<!ENTITY a "aaaa">]>' + SVG.format("<text>&a;</text>")
    with pytest.raises(CorruptDataError, match="entities"):
        clean_svg(bomb, "a-")


@pytest.mark.parametrize("broken", ["<svg>", "", "<html xmlns='x'></html>"])
def test_what_is_no_svg_is_an_error(broken: str) -> None:
    with pytest.raises(CorruptDataError):
        clean_svg(broken, "a-")


def test_ids_and_what_points_to_them_get_a_prefix() -> None:
    inside = '<defs><path id="p"/></defs><use href="#p"/><g clip-path="url(#p)"/>'
    cleaned = clean_svg(SVG.format(inside), "plot-1-")
    assert 'id="plot-1-p"' in cleaned
    assert 'href="#plot-1-p"' in cleaned
    assert 'clip-path="url(#plot-1-p)"' in cleaned


def test_matplotlib_survives_without_a_style() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(4, 3))
    axes = figure.add_subplot()
    axes.plot([1, 2], [3, 4], label="a <b>")
    axes.legend()
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    cleaned = clean_svg(buffer.getvalue(), "a-")
    assert "style" not in cleaned
    assert "#ffffff" not in cleaned
    assert 'stroke="#1f77b4"' in cleaned
    assert 'width="384"' in cleaned
