"""What a stage run leaves for people: one page and one JSON, counts that add up."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from besana.console import percent
from besana.costs.bills import current_bill
from besana.errors import BesanaError
from besana.storage import open_storage
from besana.web.memory import PeakMemory
from besana.web.values import NOTHING
from besana.workspace import Pictures, Plot, Report, Table, Text

if TYPE_CHECKING:
    from besana.config import Settings
    from besana.workspace import Workspace


@contextlib.contextmanager
def open_report(
    workspace: Workspace, stage: str, config: Settings, *, max_dropped_share: float = 1.0
) -> Iterator[Report]:
    """Let a stage count and describe what it does; write its report when it ends well.

    The page goes to `reports/<stage>-<UTC time>.html` with a JSON of the same name, and both to
    `reports/<stage>.*` as the latest; `reports/index.html` shows the whole way. A stage that
    raises leaves no report.

    Args:
        workspace: Where the reports go.
        stage: The stage's verb.
        config: The settings it runs with; the page lists them.
        max_dropped_share: The share of the input, 0 to 1, above which the stage has failed.

    Yields:
        The report, to be filled in.

    Raises:
        BesanaError: If in = out + dropped does not hold, or if too much was dropped (the page
            is written then, so that people can look at what was).
    """
    started_at, started = datetime.now(UTC), time.perf_counter()
    memory = PeakMemory()
    report = Report(stage=stage, started_at=started_at, settings=config.model_dump(mode="json"))
    yield report
    report.seconds = time.perf_counter() - started
    report.peak_memory_bytes = max(report.peak_memory_bytes, memory.read_bytes())
    bill = current_bill()
    if bill is not None and bill.stage == stage:
        bill.show(report)
    check_counts(report)
    failure = _failure(report, max_dropped_share)
    write_report(workspace, report, config, failure=str(failure) if failure else "")
    if failure:
        raise failure


def check_counts(report: Report) -> None:
    """Hold a report to in = out + dropped by reason.

    Raises:
        BesanaError: If the counts do not add up: a defect of the stage, never of the data.
    """
    dropped = sum(report.dropped.values())
    if report.counts_in != report.counts_out + dropped:
        raise BesanaError(
            f"'{report.stage}' counted {report.counts_in} in, but {report.counts_out} out and "
            f"{dropped} dropped.",
            "This is a defect in besana: please report it with the command that you ran.",
        )


def write_report(
    workspace: Workspace, report: Report, config: Settings, *, failure: str = ""
) -> None:
    """Write a report's page and JSON, as this run's and as the latest, then the index."""
    from besana.web.render import render
    from besana.web.way import read_way

    stem = f"{report.stage}-{report.started_at:%Y%m%dT%H%M%S.%f}"[:-3] + "Z"
    record = report_record(report, config, failure=failure)
    record["workspace"] = workspace.name
    record["files"] = {name: _below(path, workspace.reports) for name, path in report.files.items()}
    page = render(
        "report.html",
        report=report,
        workspace=workspace.name,
        header=stage_header(config),
        settings=setting_rows(config),
        failure=failure,
        stem=stem,
        dropped=sorted(report.dropped.items(), key=lambda item: -item[1]),
        links=[(_below(path, workspace.reports), name) for name, path in report.files.items()],
        kinds={Table: "table", Pictures: "pictures", Plot: "plot", Text: "text"},
    )
    reports = open_storage(workspace.reports)
    # The latest come last: they never point at a run whose own files are not there.
    for name in (stem, report.stage):
        reports.write(f"{name}.json", json.dumps(record, indent=1).encode())
        reports.write(f"{name}.html", page.encode())
    index = render("index.html", workspace=workspace.name, way=read_way(workspace.reports))
    reports.write("index.html", index.encode())
    report.page = workspace.reports / f"{report.stage}.html"


def report_record(report: Report, config: Settings, *, failure: str) -> dict[str, Any]:
    """Say in plain JSON values what a report says; pictures are left to the page."""
    return {
        "stage": report.stage,
        "way": list(stage_order(config)),
        "status": "failed" if failure else "done",
        "failure": failure,
        "started_at": report.started_at.isoformat(timespec="milliseconds"),
        "seconds": round(report.seconds, 3),
        "peak_memory_bytes": report.peak_memory_bytes,
        "counts": {
            "in": report.counts_in,
            "out": report.counts_out,
            "dropped": dict(report.dropped),
        },
        "results": list(report.results),
        "warnings": list(report.warnings),
        "facts": _plain(report.facts),
        "settings": dict(report.settings),
        "sections": [_section_record(section) for section in report.sections],
    }


def stage_header(config: Settings) -> str:
    """Give the sentence that a stage's module opens with."""
    module = sys.modules.get(type(config).__module__)
    return ((module.__doc__ if module else "") or "").strip().partition("\n")[0]


def stage_order(config: Settings) -> tuple[str, ...]:
    """Give the order of the stages, as written once in the package that the settings come from.

    The web room stands below the stages and must not import them; the settings it was handed
    know where they belong.
    """
    module = sys.modules.get(type(config).__module__)
    package = sys.modules.get(getattr(module, "__package__", None) or "")
    return tuple(getattr(package, "STAGES", ()))


def setting_rows(config: Settings) -> list[tuple[str, str, bool]]:
    """List the settings of a run: key, value as in `besana.toml`, whether it was changed."""
    fields = type(config).model_fields
    rows = []
    for key, value in config.model_dump(mode="json").items():
        shown = json.dumps(value, ensure_ascii=False) if value is not None else NOTHING
        field = fields[key]
        changed = not field.is_required() and getattr(config, key) != field.get_default(
            call_default_factory=True, validated_data={}
        )
        rows.append((key, shown, changed))
    return rows


def _failure(report: Report, max_dropped_share: float) -> BesanaError | None:
    dropped = sum(report.dropped.values())
    if dropped <= max_dropped_share * report.counts_in:
        return None
    reasons = ", ".join(
        f"{count} {reason}"
        for reason, count in sorted(report.dropped.items(), key=lambda item: -item[1])
    )
    return BesanaError(
        f"'{report.stage}' dropped {percent(dropped / report.counts_in)} of {report.counts_in} "
        f"({reasons}); at most {percent(max_dropped_share)} is allowed.",
        f"See reports/{report.stage}.html, then correct the input or raise max_dropped_share.",
    )


def _section_record(section: Table | Pictures | Plot | Text) -> dict[str, Any]:
    if isinstance(section, Table):
        return {
            "table": section.title,
            "columns": list(section.columns),
            "rows": [[_plain(value) for value in row] for row in section.rows],
            "note": section.note,
        }
    if isinstance(section, Pictures):
        captions = [item.caption for item in section.items]
        return {"pictures": section.title, "captions": captions, "note": section.note}
    if isinstance(section, Plot):
        return {"plot": section.title, "note": section.note}
    return {"text": section.title, "words": section.text}


def _plain(value: Any) -> Any:
    """Turn a value into what JSON knows; NumPy's scalars become Python's, NaN becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _below(path: Path, folder: Path) -> str:
    """Give a file's path as the pages beside it link to it."""
    return Path(os.path.relpath(path, folder)).as_posix()
