"""The page to drop a picture on, in a real browser."""

import pytest
from exported import SIZE, pictures
from servers import CAMERAS, TOKEN, serving_folder

from besana.images.encode import encode_png


@pytest.fixture(scope="module")
def server(whole_export):
    with serving_folder(whole_export) as running:
        yield running


@pytest.mark.parametrize(
    ("locale", "heading", "button", "column", "whole"),
    [
        ("en-GB", "Try a picture", "Judge", "Probability", "none: the picture is one sample"),
        (
            *("es-MX", "Probar una imagen", "Juzgar", "Probabilidad"),
            "ninguna: la imagen es una muestra",
        ),
    ],
)
def test_a_picture_is_judged_on_the_page(
    server, browser, tmp_path, locale, heading, button, column, whole
):
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(pictures(1, size=SIZE)[0]))
    context = browser.new_context(locale=locale)
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{server.url}/#{TOKEN}")
    assert TOKEN not in page.url
    assert page.get_by_role("heading", name=heading).is_visible()
    assert page.locator("#camera option").all_inner_texts() == [whole, *CAMERAS]
    page.set_input_files("#file", path)
    page.get_by_role("button", name=button).click()
    page.get_by_role("cell", name="%").wait_for()
    assert page.get_by_role("columnheader", name=column).is_visible()

    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    assert [one["id"] for one in violations] == []
    context.close()
    assert complaints == []


def test_a_wrong_token_is_said(server, browser, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(pictures(1, size=SIZE)[0]))
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.goto(f"{server.url}/")
    page.fill("#token", "wrong")
    page.set_input_files("#file", path)
    page.get_by_role("button", name="Judge").click()
    page.get_by_text("The token is missing or wrong.").wait_for()
    assert page.get_by_role("cell", name="%").count() == 0
    context.close()
