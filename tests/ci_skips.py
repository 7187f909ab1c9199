"""A pytest plugin: in CI a skipped test is a failure, because CI has whatever a test needs."""

import os
from collections.abc import Iterator

import pytest

# What a machine of CI cannot have.
ALLOWED = ("needs a GPU", "needs a Go compiler", "needs a Rust compiler", "needs jars from Maven")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[pytest.CollectReport]:
    report = yield
    if report.skipped:
        refuse(report)
    return report


def refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure when this is CI and CI could have run it."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if os.environ.get("CI") and not any(allowed in reason for allowed in ALLOWED):
        report.outcome = "failed"
        report.longrepr = f"Skipped in CI, where it must run: {reason}"
