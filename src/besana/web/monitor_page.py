"""What people see of the watch: what has changed, since when, what it costs, how it looks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from besana import catalog as tables
from besana.learning.sample_pages import PLACE, manifest_of
from besana.watching.look import ACCURACY, APPEARANCE, CAMERA, MEASURED, SHARE
from besana.watching.state import rows_since
from besana.web.alerts import Gauge
from besana.web.curves import Line, draw_lines
from besana.web.evaluation_page import sample_pictures
from besana.workspace import Pictures, Plot, Section, Table, Text

if TYPE_CHECKING:
    from besana.watching.due import Camera
    from besana.workspace import Workspace

_DAYS_DRAWN = 60
_MOST_CAMERAS_DRAWN = 12

# Signal -> what is likely behind it when it falls, and when it rises.
_CAUSES: Mapping[str, tuple[str, str]] = {
    "brightness": ("Less light: a lamp, the lens cover, the season", "More light or glare"),
    "log_contrast": ("Fog, dust or dirt on the lens", "Other light"),
    "log_sharpness": ("Blurred: dirt, condensation, focus", "Noise, rain, or another lens"),
    "ir_share": ("Fewer infrared pictures", "More infrared pictures: no lamp, or a stuck filter"),
    "shift_share": ("", "The camera was moved"),
    "change_bits": ("The picture is frozen", ""),
    "unusable_share": ("", "More frames cannot be used"),
    "frames_share": ("The camera sends fewer frames", ""),
    "confidence": ("The model is less sure", "The model is surer than usual"),
    APPEARANCE: ("", "Samples look different: herd, bedding, light, lens"),
    ACCURACY: ("The model is probably less often right", ""),
    MEASURED: ("Labels say that the model is less often right", ""),
    "unknown_camera": ("The model has not been trained on this camera", ""),
}
_SHARE_CAUSE = "The animals behave differently, or the model errs"


def monitor_sections(
    workspace: Workspace, model: str, version: int, rows: Sequence[Any], pictures: int
) -> Iterator[Section]:
    """Make what the page shows of the last look at each camera.

    Args:
        workspace: Whose.
        model: Name of the model.
        version: Its version.
        rows: The last look at each camera.
        pictures: How many pictures of a changed camera to show.
    """
    if not rows:
        yield Text("Nothing to compare yet", _NOTHING)
        return
    changed = [row for row in rows if row.state == "drift"]
    told = {row.camera for row in rows if row.state != "unknown"}
    unknown = [row for row in rows if row.camera not in told]
    if told:
        yield _changes(changed, sure=not unknown)
    if unknown:
        yield _unknown(unknown)
    yield _cameras(rows)
    for camera in sorted({row.camera for row in rows})[:_MOST_CAMERAS_DRAWN]:
        yield from _timelines(workspace, model, version, camera)
    for camera in sorted({row.camera for row in changed}) if pictures else []:
        yield from _pictures(workspace, camera, changed, pictures)


_NOTHING = (
    "The first look at a camera ends a window after the last sample that its model was trained on."
)


def waiting_section(cameras: Sequence[Camera]) -> Table:
    """Say of cameras that were not looked at when they will be.

    Args:
        cameras: Those without a look that is due.
    """
    return Table(
        "Not looked at this time",
        ("camera", "last_frame", "next_look"),
        [(camera.name, camera.last_at, camera.next_at) for camera in cameras],
        "A look is taken when a frame after its end has come. Frames without a capture time are"
        " not looked at.",
    )


def _unknown(rows: Sequence[Any]) -> Table:
    """List the cameras of which the last look could say nothing, and why."""
    samples = dict.fromkeys(sorted({row.camera for row in rows}), 0)
    until = {row.camera: row.window_end for row in rows}
    for row in rows:
        samples[row.camera] = max(samples[row.camera], row.samples)
    return Table(
        "Nothing can be said of these cameras",
        ("camera", "until", "reason"),
        [
            (name, until[name], _TOO_SHORT if count else _NO_FRAME)
            for name, count in samples.items()
        ],
    )


_ALL_USUAL = "All cameras show what the model was trained on."
_OTHERS_USUAL = "The other cameras show what the model was trained on."
_NO_FRAME = "No frame came in these hours"
_TOO_SHORT = "The dataset has too few days and hours of this camera"


def _changes(changed: Sequence[Any], *, sure: bool) -> Section:
    if not changed:
        return Text("No change", _ALL_USUAL if sure else _OTHERS_USUAL)
    rows = [
        (
            row.camera,
            row.region,
            signal_words(row.signal),
            _rounded(row.value),
            _rounded(row.expected),
            _rounded(row.score),
            _rounded(row.score_limit),
            likely_cause(row),
        )
        for row in sorted(changed, key=lambda row: -_far(row))
    ]
    columns = ("camera", "region", "signal", "seen", "expected", "score", "limit", "likely_cause")
    return Table(
        "What has changed",
        columns,
        rows,
        "A score counts how far the last hours are from the days of training, in errors of a"
        " prediction for one day; beyond the limit this is no chance.",
    )


def _cameras(rows: Sequence[Any]) -> Table:
    shown = []
    for camera in sorted({row.camera for row in rows}):
        own = [row for row in rows if row.camera == camera]
        accuracy = {
            row.signal: row for row in own if row.region == CAMERA and row.signal in _ACCURACIES
        }
        estimate, measured = (accuracy.get(name) for name in _ACCURACIES)
        shown.append(
            (
                camera,
                own[0].window_end,
                sum(row.state == "drift" for row in own),
                *(_of(estimate, name) for name in ("expected", "value", "low", "high")),
                _of(measured, "value"),
                measured.samples if measured is not None else None,
            )
        )
    columns = (
        *("camera", "until", "changes", "accuracy_in_training_share", "estimated_accuracy_share"),
        *("low_share", "high_share", "measured_accuracy_share", "labelled_samples"),
    )
    return Table(
        "Cameras",
        columns,
        shown,
        "The accuracy is estimated without labels, from how sure the model is and from what"
        " spoilt pictures taught about that; labels of the same hours measure it.",
    )


_ACCURACIES = (ACCURACY, MEASURED)


def _timelines(workspace: Workspace, model: str, version: int, camera: str) -> Iterator[Section]:
    """Draw a camera's last weeks: the accuracy, and how near each signal is to its limit."""
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=36_500)
    rows = rows_since(workspace.catalog, model, version, camera, since)
    if not rows:
        return
    last = rows[-1].window_end
    rows = [row for row in rows if row.window_end > last - dt.timedelta(days=_DAYS_DRAWN)]
    estimates = [row for row in rows if row.signal == ACCURACY]
    if len(estimates) > 1:
        measured = [row for row in rows if row.signal == MEASURED]
        lines = [
            _line("estimated_accuracy", estimates, last, "value"),
            _line("accuracy_in_training", estimates, last, "expected"),
            _line("low", estimates, last, "low"),
            _line("high", estimates, last, "high"),
        ]
        if measured:
            lines.append(_line("measured_accuracy", measured, last, "value"))
        yield Plot(f"Accuracy: {camera}", draw_lines(lines, "Days before the last look"))
    nearest = _nearest(rows)
    if nearest:
        lines = [
            Line(name, [_days(row, last) for row in own], [_far(row) for row in own])
            for name, own in nearest
        ]
        yield Plot(
            f"Score over its limit: {camera}",
            draw_lines(lines, "Days before the last look"),
            "Above 1 a signal has changed.",
        )


def _nearest(rows: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    """Choose the camera's signals that came nearest to their limits, with two looks at least."""
    by_signal: dict[str, list[Any]] = {}
    for row in rows:
        if row.region == CAMERA and row.score is not None and row.score_limit:
            by_signal.setdefault(row.signal, []).append(row)
    several = [item for item in by_signal.items() if len(item[1]) > 1]
    return sorted(several, key=lambda item: -max(map(_far, item[1])))[:5]


def _line(name: str, rows: Sequence[Any], last: dt.datetime, column: str) -> Line:
    values = [row._mapping[column] for row in rows]
    return Line(
        name, [_days(row, last) for row in rows], [float("nan") if v is None else v for v in values]
    )


def _days(row: Any, last: dt.datetime) -> float:
    away: dt.timedelta = row.window_end - last
    return round(away.total_seconds() / 86_400, 3)


def _far(row: Any) -> float:
    if row.score is None or not row.score_limit:
        return 0.0
    return float(abs(row.score) / row.score_limit)


def _pictures(
    workspace: Workspace, camera: str, changed: Sequence[Any], most: int
) -> Iterator[Section]:
    """Show samples of before beside samples of now."""
    own = [row for row in changed if row.camera == camera]
    start = min(row.window_start for row in own)
    end = max(row.window_end for row in own)
    length = end - start
    for title, first, until in (
        (f"Before: {camera}", start - 2 * length, start - length),
        (f"Now: {camera}", start, end),
    ):
        places = _some_places(workspace, camera, first, until, most)
        if places:
            with manifest_of(places, workspace.temporary) as manifest:
                captions = [f"{row['region']} · {row['at']:%Y-%m-%d %H:%M}" for row in places]
                import numpy as np

                shown = sample_pictures(
                    workspace.shards, manifest, np.arange(len(places)), captions
                )
            yield Pictures(title, shown)


def _some_places(
    workspace: Workspace, camera: str, first: dt.datetime, until: dt.datetime, most: int
) -> list[dict[str, Any]]:
    """Choose samples of a camera spread over a time."""
    s, f = tables.samples.c, tables.frames.c
    select = (
        sa.select(*(s[name] for name in PLACE), f.captured_at.label("at"))
        .select_from(tables.samples.join(tables.frames, s.frame_id == f.id))
        .where(f.camera == camera, f.captured_at >= first, f.captured_at < until)
    )
    step = max(1, workspace.catalog.count(select) // most)
    chosen: list[dict[str, Any]] = []
    number = 0
    for page in workspace.catalog.pages(select, [s.frame_id, s.region]):
        for row in page:
            if number % step == 0 and len(chosen) < most:
                chosen.append(dict(row._mapping))
            number += 1
    return chosen


def signal_words(signal: str) -> str:
    """Name a signal as people see it.

    >>> signal_words("share:lying"), signal_words("log_sharpness")
    ('Share of lying', 'log_sharpness')
    """
    return f"Share of {signal.removeprefix(SHARE)}" if signal.startswith(SHARE) else signal


def likely_cause(row: Any) -> str:
    """Say what is likely behind a change."""
    if row.signal.startswith(SHARE):
        return _SHARE_CAUSE
    falls, rises = _CAUSES.get(row.signal, ("", ""))
    fell = row.value is not None and row.expected is not None and row.value < row.expected
    return (falls if fell else rises) or falls or rises


def alert_message(farm: str, model: str, news: Sequence[Any]) -> dict[str, Any]:
    """Make the message of an alert: `title` and `text` for people, the rest for programs.

    Args:
        farm: Name of the workspace.
        model: Name and version.
        news: Rows of changes that people do not know of.
    """
    cameras = sorted({row.camera for row in news})
    headline = f"besana: {farm}: {', '.join(cameras)} changed"
    lines = [
        f"{row.camera}{' ' + row.region if row.region else ''}: {signal_words(row.signal)} "
        f"{_rounded(row.value)}, expected {_rounded(row.expected)}, "
        f"until {row.window_end:%Y-%m-%d %H:%M} UTC. {likely_cause(row)}"
        for row in news
    ]
    return {
        "title": headline,
        "text": "\n".join([headline, f"Model {model}", *lines, "See reports/monitor.html"]),
        "farm": farm,
        "model": model,
        "changes": [
            {
                "camera": row.camera,
                "region": row.region,
                "signal": row.signal,
                "value": row.value,
                "expected": row.expected,
                "score": row.score,
                "limit": row.score_limit,
                "until": row.window_end.isoformat(),
                "likely_cause": likely_cause(row),
            }
            for row in news
        ],
    }


def gauges(farm: str, rows: Sequence[Any]) -> Iterator[Gauge]:
    """Give the last look at each camera as figures for Prometheus."""
    labelled = [
        ({"farm": farm, "camera": r.camera, "region": r.region, "signal": r.signal}, r)
        for r in rows
    ]
    yield Gauge(
        "besana_drift",
        "Whether a signal has changed since training, 1 or 0.",
        [(labels, float(row.state == "drift")) for labels, row in labelled],
    )
    yield Gauge(
        "besana_drift_score",
        "Distance from the days of training over its limit.",
        [(labels, _far(row)) for labels, row in labelled if row.score is not None],
    )
    for suffix, column in (("", "value"), ("_low", "low"), ("_high", "high")):
        for signal in _ACCURACIES:
            yield Gauge(
                f"besana_{signal}{suffix}",
                "Accuracy of the model in the last window, 0 to 1.",
                [
                    ({"farm": farm, "camera": row.camera}, float(row._mapping[column]))
                    for row in rows
                    if row.signal == signal and row._mapping[column] is not None
                ],
            )
    yield Gauge(
        "besana_last_look_timestamp_seconds",
        "Until when a camera was looked at.",
        [
            ({"farm": farm, "camera": camera}, at)
            for camera, at in sorted({r.camera: r.window_end.timestamp() for r in rows}.items())
        ],
    )


def _of(row: Any, column: str) -> float | None:
    return None if row is None else _rounded(row._mapping[column])


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
