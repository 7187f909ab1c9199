"""Settings: what is accepted, and what the message says when it is not."""

import pickle
from typing import Literal

import pytest
from pydantic import Field, ValidationError

from besana import errors
from besana.config import Settings, check_keys, parse, read_toml, suggestion
from besana.errors import BesanaError, ConfigError, CorruptDataError, NotFoundError


class Inner(Settings):
    size_px: int = Field(default=64, ge=8, description="Side.")


class Example(Settings):
    blur_below: float = Field(default=40.0, ge=0, description="Sharpness.")
    form: Literal["table", "csv"] = Field(default="table", description="Form.")
    names: list[str] = Field(default=[], description="Names.")
    inner: Inner = Field(default=Inner(), description="Inner table.")
    workers: int | None = Field(default=None, ge=1, description="Workers.")


class Needy(Settings):
    query: str = Field(description="A question.")


def problem(values, model=Example, where="[clean]"):
    with pytest.raises(ConfigError) as caught:
        parse(model, values, where=where)
    return caught.value


def test_defaults_hold_when_nothing_is_given():
    assert parse(Example, {}, where="[clean]") == Example()


def test_values_are_taken():
    values = {"blur_below": 10, "form": "csv", "names": ["a"], "inner": {"size_px": 32}}
    config = parse(Example, values, where="[clean]")
    assert (config.blur_below, config.form, config.inner.size_px) == (10.0, "csv", 32)


def test_an_unknown_key_is_an_error_with_the_nearest_one():
    error = problem({"blur_bellow": 1})
    assert error.problem == "Unknown setting 'blur_bellow' in [clean]."
    assert error.hint == "Did you mean 'blur_below'?"
    assert isinstance(error, ValueError)


def test_an_unknown_key_in_a_table_names_the_way_to_it():
    error = problem({"inner": {"size": 1}})
    assert str(error) == "Unknown setting 'inner.size' in [clean]. Did you mean 'size_px'?"


def test_a_strange_key_lists_the_known_ones():
    assert "Known: blur_below, form, inner, names, workers." in str(problem({"xyz": 1}))


def test_a_missing_key_is_named():
    assert str(problem({}, Needy, "besana sql")) == (
        "Setting 'query' is missing in besana sql. Add it."
    )


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"blur_below": -1}, "'blur_below' in [clean] is -1"),
        ({"blur_below": "much"}, "'blur_below' in [clean] is 'much'"),
        ({"blur_below": float("nan")}, "'blur_below' in [clean] is nan"),
        ({"blur_below": float("inf")}, "'blur_below' in [clean] is inf"),
        ({"form": "xml"}, "'table' or 'csv'"),
        ({"names": "one"}, "'names' in [clean] is 'one'"),
        ({"names": [1]}, "'names.0' in [clean] is 1"),
        ({"inner": {"size_px": 1}}, "'inner.size_px' in [clean] is 1"),
        ({"workers": 0}, "'workers' in [clean] is 0"),
        ({"workers": 1.5}, "'workers' in [clean] is 1.5"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(values, named):
    assert named in str(problem(values))


def test_a_long_value_is_shortened():
    assert len(problem({"form": "x" * 10_000}).problem) < 300


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Example().blur_below = 3  # type: ignore[misc]


def test_check_keys_lets_known_ones_pass():
    check_keys(["clean"], ["clean", "split"], what="table", where="besana.toml")
    with pytest.raises(ConfigError, match=r"Unknown table 'claen' in besana\.toml\. Did you mean"):
        check_keys(["clean", "claen"], ["clean", "split"], what="table", where="besana.toml")


def test_suggestion_of_nothing_is_empty():
    assert suggestion("word", []) == ""


def test_read_toml_reads(tmp_path):
    (tmp_path / "besana.toml").write_text('name = "été"\n[clean]\nblur_below = 1e-3\n')
    assert read_toml(tmp_path / "besana.toml") == {"name": "été", "clean": {"blur_below": 0.001}}


@pytest.mark.parametrize(
    "data",
    [b"name = ", b"a = 1\na = 2\n", b"[clean]\n[clean]\n", b"name = '\xff\xfe'", b"\0", b"a = nul"],
)
def test_read_toml_refuses_what_is_not_toml(tmp_path, data):
    (tmp_path / "besana.toml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"besana\.toml is not valid TOML: .* Correct that line"):
        read_toml(tmp_path / "besana.toml")


def test_read_toml_refuses_a_huge_file(tmp_path):
    (tmp_path / "besana.toml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigError, match="has 1000001 bytes"):
        read_toml(tmp_path / "besana.toml")


def test_read_toml_of_no_file_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match="Run: besana init"):
        read_toml(tmp_path / "besana.toml")


def all_errors():
    return [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, BesanaError)]


@pytest.mark.parametrize("kind", all_errors())
def test_an_error_comes_back_from_a_worker_as_it_was(kind):
    error = kind("It broke at 3 px.", "Mend it.")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(again) is kind
    assert (again.problem, again.hint) == ("It broke at 3 px.", "Mend it.")
    assert str(again) == "It broke at 3 px. Mend it."
    assert str(kind("Alone.")) == "Alone."


def test_the_reason_of_corrupt_data_comes_back_too():
    error = CorruptDataError("Half a file.", "Send it again.", reason="truncated")
    assert pickle.loads(pickle.dumps(error)).reason == "truncated"  # noqa: S301  # our own bytes
