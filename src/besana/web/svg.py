"""Plots made safe to stand inside a page: known elements only, no script, no style, own ids."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from besana.errors import CorruptDataError

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"

_ELEMENTS = """
svg g defs clipPath path rect circle ellipse line polyline polygon text tspan title desc use
image linearGradient stop pattern marker
"""
# Presentation attributes are what a style attribute may be turned into: the page's
# content-security policy refuses inline styles, and matplotlib writes nothing else.
_ATTRIBUTES = """
id class lang x y x1 y1 x2 y2 cx cy r rx ry width height d points transform viewBox
preserveAspectRatio clip-path clip-rule fill fill-opacity fill-rule stroke stroke-width
stroke-opacity stroke-linecap stroke-linejoin stroke-dasharray stroke-dashoffset
stroke-miterlimit opacity font-family font-size font-style font-weight font-variant
font-stretch text-anchor dominant-baseline letter-spacing textLength lengthAdjust dx dy
rotate offset stop-color stop-opacity gradientUnits gradientTransform patternUnits
patternTransform patternContentUnits clipPathUnits marker-end marker-start markerWidth
markerHeight refX refY orient role aria-hidden aria-label href version
"""
_KNOWN_ELEMENTS = frozenset(_ELEMENTS.split())
_KNOWN_ATTRIBUTES = frozenset(_ATTRIBUTES.split())
_BLACK = frozenset(("#000000", "#000", "black"))
_WHITE = frozenset(("#ffffff", "#fff", "white"))
_REFERENCE = re.compile(r"url\(\s*['\"]?#([^)'\"]+)['\"]?\s*\)")
_PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=\s]*")


def clean_svg(svg: str, prefix: str) -> str:
    """Rewrite a plot so that it can be put into a page.

    What is not a known drawing element or attribute is left out, so a name that reached the
    plot unescaped cannot bring a script along. Black becomes the page's text colour, a white
    ground the page's, and the white sheet of matplotlib goes: so a plot is legible on a dark
    page.

    Args:
        svg: The plot, as matplotlib or the stage wrote it.
        prefix: What the ids of this plot begin with: they must be unique in the page.

    Raises:
        CorruptDataError: If it is not well-formed, or not SVG.
    """
    if "<!ENTITY" in svg:
        raise CorruptDataError("A plot declares XML entities.", "Write it without a doctype.")
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise CorruptDataError(f"A plot is not well-formed SVG: {error}.") from None
    if root.tag != f"{{{_SVG}}}svg" and root.tag != "svg":
        raise CorruptDataError(f"A plot starts with <{root.tag}>.", "It has to start with <svg>.")
    cleaned = _clean(root, prefix)
    cleaned.attrib.pop("version", None)
    _fit(cleaned)
    cleaned.set("xmlns", _SVG)
    for name, value in (("fill", "currentColor"), ("stroke-linejoin", "round")):
        cleaned.attrib.setdefault(name, value)
    return ElementTree.tostring(cleaned, encoding="unicode")


def _clean(element: ElementTree.Element, prefix: str) -> ElementTree.Element:
    copy = ElementTree.Element(_local(element.tag))
    for name, value in _attributes(element):
        _keep(copy, name, value, prefix)
    copy.text, copy.tail = element.text, element.tail
    for child in element:
        if _is_known(child) and not _is_white_ground(child):
            copy.append(_clean(child, prefix))
    return copy


def _is_known(element: ElementTree.Element) -> bool:
    # A comment's tag is a function.
    return isinstance(element.tag, str) and _local(element.tag) in _KNOWN_ELEMENTS


def _attributes(element: ElementTree.Element) -> list[tuple[str, str]]:
    """List the attributes, the declarations of a style attribute among them."""
    found: list[tuple[str, str]] = []
    for name, value in element.attrib.items():
        if name == "style":
            found += [
                (key.strip(), words.strip())
                for key, _, words in (part.partition(":") for part in value.split(";"))
            ]
        else:
            found.append(("href" if name == _LINK else name, value))
    return found


def _keep(copy: ElementTree.Element, name: str, value: str, prefix: str) -> None:
    if name not in _KNOWN_ATTRIBUTES:
        if name == "font":
            _keep_font(copy, value)
        return
    if name == "id":
        value = prefix + value
    elif name == "href":
        if value.startswith("#"):
            value = f"#{prefix}{value[1:]}"
        elif copy.tag != "image" or not _PICTURE.fullmatch(value):
            return
    elif "url(" in value:
        if not _REFERENCE.fullmatch(value):
            return
        value = _REFERENCE.sub(lambda found: f"url(#{prefix}{found[1]})", value)
    elif name in ("fill", "stroke"):
        value = _page_colour(value.lower(), copy.tag)
    copy.set(name, value)


def _page_colour(colour: str, tag: str) -> str:
    """Let black and the white of a legend's ground follow the page; white letters stay white."""
    if colour in _BLACK:
        return "currentColor"
    return "Canvas" if colour in _WHITE and tag in ("path", "rect") else colour


def _keep_font(copy: ElementTree.Element, value: str) -> None:
    """Take the size from a `font` shorthand; the family is the page's."""
    size = re.search(r"([\d.]+px)", value)
    if size:
        copy.set("font-size", size[1])


def _is_white_ground(element: ElementTree.Element) -> bool:
    """Tell whether a group is matplotlib's white background patch (`patch_1`, `patch_2`)."""
    if element.get("id") not in ("patch_1", "patch_2"):
        return False
    path = element.find(f"{{{_SVG}}}path")
    return path is not None and "fill: #ffffff" in path.get("style", "")


def _fit(root: ElementTree.Element) -> None:
    """Let the page choose the width; the drawing's own size is kept as the largest one."""
    if "viewBox" not in root.attrib:
        size = [re.sub(r"[^\d.]", "", root.get(side, "")) for side in ("width", "height")]
        if all(size):
            root.set("viewBox", f"0 0 {size[0]} {size[1]}")
    points = root.get("width", "").endswith("pt")
    root.attrib.pop("height", None)
    box = root.get("viewBox", "").split()
    if len(box) == 4:
        root.set("width", f"{float(box[2]) * (4 / 3 if points else 1):g}")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
