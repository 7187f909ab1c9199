"""Pages in a real browser: both languages, phone and desktop, no errors, nothing from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE, DESKTOP = (375, 740), (1280, 900)


@contextmanager
def opened(browser: Browser, path: Path, *, language: str = "en-GB", **more: Any) -> Iterator[Page]:
    """Open a page; whatever it complains about or asks the network for fails the test."""
    size = more.pop("size", DESKTOP)
    viewport = {"width": size[0], "height": size[1]}
    context = browser.new_context(viewport=viewport, locale=language, **more)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.on(
        "request",
        lambda request: (
            complaints.append(request.url)
            if not request.url.startswith(("data:", path.as_uri().rpartition("/")[0]))
            else None
        ),
    )
    page.goto(path.as_uri())
    yield page
    context.close()
    assert complaints == []


@pytest.mark.parametrize("name", ["clean.html", "index.html"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_the_screen(
    browser: Browser, reports: Path, name: str, size: tuple[int, int], scheme: str
) -> None:
    with opened(browser, reports / name, size=size, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert page.locator("h1").is_visible()


@pytest.mark.parametrize(
    ("language", "shown", "heading"),
    [("en-GB", "en", "Clean"), ("es-MX", "es", "Depurar"), ("de-DE", "en", "Clean")],
)
def test_browser_chooses_the_language(
    browser: Browser, reports: Path, language: str, shown: str, heading: str
) -> None:
    with opened(browser, reports / "clean.html", language=language) as page:
        assert page.locator("html").get_attribute("lang") == shown
        assert page.locator("h1").inner_text() == heading
        assert page.title().startswith(heading)
        assert (
            page.locator(f"button[data-language={shown}]").get_attribute("aria-pressed") == "true"
        )


def test_button_switches_the_language_and_it_is_remembered(browser: Browser, reports: Path) -> None:
    with opened(browser, reports / "clean.html") as page:
        assert "4,109" in page.locator(".headline").inner_text()
        page.get_by_role("button", name="Español").click()
        assert page.locator("h1").inner_text() == "Depurar"
        assert "4\u202f109" in page.locator(".headline").inner_text()
        assert "50,0\u00a0%" in page.locator("main").inner_text()
        # Once in many runs, on a busy machine, the first reload came too early; nobody knows why.
        for _ in range(10):
            page.reload()
            if page.locator("h1").inner_text() == "Depurar":
                break
            page.wait_for_timeout(200)
        assert page.locator("h1").inner_text() == "Depurar"
        page.get_by_role("link", name="El camino de los datos").click()
        page.wait_for_url("**/index.html")  # loaded, its script too
        assert page.locator("h1").inner_text() == "El camino de los datos"


def test_page_is_readable_without_javascript(browser: Browser, reports: Path) -> None:
    with opened(browser, reports / "clean.html", java_script_enabled=False, language="es") as page:
        words = page.inner_text("body")
        assert "Clean" in words
        assert "Near duplicate" in words
        assert "Depurar" not in words
        assert "Español" not in words


def test_one_language_at_a_time(browser: Browser, reports: Path) -> None:
    for language, there, not_there in (("en", "Near duplicate", "Casi"), ("es", "Casi", "Near")):
        with opened(browser, reports / "clean.html", language=language) as page:
            words = page.inner_text("main")
            assert there in words
            assert not_there not in words


def test_names_are_shown_as_text(browser: Browser, reports: Path) -> None:
    with opened(browser, reports / "clean.html") as page:
        words = page.inner_text("main")
        assert '"><img src=x onerror=alert(1)>\\u202e</script>' in words
        assert page.locator("img[src=x]").count() == 0
        assert page.locator("script").count() == 1


def test_a_script_that_got_in_would_not_run(
    browser: Browser, reports: Path, tmp_path: Path
) -> None:
    page_text = (reports / "clean.html").read_text("utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(
        page_text.replace("<h1>", "<script>document.title = 'run'</script><h1 style='color:red'>"),
        "utf-8",
    )
    context = browser.new_context()
    page = context.new_page()
    page.goto(broken.as_uri())
    assert page.title() != "run"
    assert page.locator("h1").evaluate("e => getComputedStyle(e).color") != "rgb(255, 0, 0)"
    context.close()


def test_tables_sort_by_number_and_by_word(browser: Browser, reports: Path) -> None:
    with opened(browser, reports / "clean.html") as page:
        table = page.locator("#section-1 table")
        table.get_by_role("button", name="Count").click()
        first = table.locator("tbody tr").first.inner_text()
        assert "pen-b" in first
        table.get_by_role("button", name="Count").click()
        assert "1,234,567" in table.locator("tbody tr").first.inner_text()
        head = table.locator("th", has_text="Count")
        assert head.get_attribute("aria-sort") == "descending"


def test_pictures_grow_and_shrink_by_keyboard(browser: Browser, reports: Path) -> None:
    with opened(browser, reports / "clean.html") as page:
        page.locator("button.enlarge").first.focus()
        page.keyboard.press("Enter")
        assert page.locator("dialog").is_visible()
        assert page.locator("dialog img").evaluate("i => i.naturalWidth") == 64
        page.keyboard.press("Escape")
        assert not page.locator("dialog").is_visible()


def test_page_prints_without_buttons(browser: Browser, reports: Path) -> None:
    with opened(browser, reports / "clean.html") as page:
        page.emulate_media(media="print")
        assert not page.locator(".languages").is_visible()
        assert page.locator("h1").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["clean.html", "index.html"])
def test_words_stand_out_from_their_ground(
    browser: Browser, reports: Path, name: str, scheme: str
) -> None:
    """WCAG 2.1, 1.4.3: a contrast of 4.5 to 1 for text."""
    with opened(browser, reports / name, color_scheme=scheme) as page:
        faint = page.evaluate(
            """() => {
              const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
              const light = (colour) => {
                const [r, g, b] = numbers(colour).map((v) => v / 255)
                  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const ground = (element) => {
                for (let e = element; e; e = e.parentElement) {
                  const colour = getComputedStyle(e).backgroundColor;
                  if (colour !== "transparent" && !/, 0\\)$/.test(colour)) return colour;
                }
              };
              const faint = [];
              for (const e of document.querySelectorAll("body *:not(svg *):not(script)")) {
                const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
                if (!own || !e.checkVisibility()) continue;
                const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
                const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                if (contrast < 4.5) faint.push(`${e.tagName} ${e.textContent.trim()} ${contrast}`);
              }
              return faint;
            }"""
        )
        assert faint == []


def test_page_has_landmarks_headings_and_names(browser: Browser, reports: Path) -> None:
    with opened(browser, reports / "clean.html") as page:
        assert page.get_by_role("banner").count() == 1
        assert page.get_by_role("main").count() == 1
        assert page.get_by_role("contentinfo").count() == 1
        assert page.get_by_role("heading", level=1).count() == 1
        assert page.locator("img:not([alt])").count() == 0
        assert page.locator("table:not(:has(caption))").count() == 0
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))
        wrong = page.evaluate(
            """[...document.querySelectorAll('[aria-labelledby]')]
               .filter(e => !document.getElementById(e.getAttribute('aria-labelledby'))).length"""
        )
        assert wrong == 0
