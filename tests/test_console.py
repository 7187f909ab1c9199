"""The console: text stays what it is."""

import pytest

from besana.console import plain_console


@pytest.mark.parametrize("text", ["SHA-256 4A:AB:CD:01", "[red]barn[/red]", "x" * 300])
def test_text_is_printed_as_it_is(capsys, text):
    plain_console().print(text)
    plain_console(stderr=True).print(text)

    printed = capsys.readouterr()
    assert printed.out == printed.err == f"{text}\n"
