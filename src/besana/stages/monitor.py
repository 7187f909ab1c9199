"""Tell whether cameras still show what the model was trained on, and what a change costs.

Reads: predictions, served, quality, embeddings, samples, labels
Writes: drift, reports/monitor.prom
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from besana.config import Settings
from besana.engines import Engine
from besana.errors import ConfigError, NotReadyError, StorageError
from besana.progress import track
from besana.storage import Folder
from besana.web.alerts import Gauge, Mail, post, prometheus_text, send_mail
from besana.web.report_page import open_report
from besana.workspace import Report, Text, Workspace

if TYPE_CHECKING:
    from besana.registry import Version
    from besana.shards.datasets import Dataset
    from besana.watching.due import Camera, Look
    from besana.watching.learnt import Learnt
    from besana.watching.look import Finding
    from besana.watching.reference import Reference

EXAMPLE = "besana monitor farm --webhook https://example.org/hooks/barn"

_PROMETHEUS = "monitor.prom"


class Config(Settings):
    """Settings of `monitor`."""

    model: str = Field(
        default="classifier",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Name of the model.",
    )
    version: str = Field(
        default="champion", description="Its version: champion, challenger or a number."
    )
    window_hours: int = Field(
        default=24, ge=2, le=168, description="Hours that one look takes in, up to its end."
    )
    every_hours: Literal[1, 2, 3, 4, 6, 8, 12, 24] = Field(
        default=6, description="Hours from one look at a camera to the next."
    )
    false_alarms_per_month: float = Field(
        default=0.5,
        gt=0,
        le=100,
        description="False alarms a camera and month that all looks together may cost.",
    )
    max_drop_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Estimated loss of accuracy from which on it counts as a change.",
    )
    embeddings: bool = Field(
        default=True, description="Also compare what samples look like to the model."
    )
    remind_days: int = Field(
        default=7, ge=1, le=365, description="Days until people are told again of the same change."
    )
    webhook: str = Field(default="", description="Address that takes alerts as JSON; empty: none.")
    mail_to: list[str] = Field(default=[], description="Addresses that get alerts as e-mail.")
    mail_from: str = Field(default="", description="Address that alerts come from.")
    smtp_server: str = Field(default="", description="Mail server, as mail.example.org:587.")
    smtp_user: str = Field(
        default="",
        description="Name to log in with; the password is in BESANA_SMTP_PASSWORD; empty: none.",
    )
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the way to the mail server is kept secret."
    )
    pictures: int = Field(
        default=6, ge=0, le=48, description="Pictures of each kind to show of a changed camera."
    )
    batch_size: int = Field(default=32, ge=1, description="Samples embedded at a time.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where to compute; auto: a GPU when there is one."
    )
    threads: int = Field(default=0, ge=0, le=256, description="Threads; 0: one a core.")
    tracking_uri: str = Field(
        default="",
        description="MLflow server; empty: MLFLOW_TRACKING_URI, else a file in runs/.",
    )


def run(
    workspace: Workspace,
    config: Config | None = None,
    engine: Engine | None = None,
    *,
    clock: dt.datetime | None = None,
) -> Report:
    """Take every look that is due at every camera, and tell people what is new.

    Looks end at full hours of the camera's clock and are taken once; the first one ends a window
    after the last sample of the model's dataset. So running it again finds nothing to do. What
    `besana serve` kept counts as what was collected and predicted does.

    Args:
        workspace: Where the predictions are.
        config: Settings; None means those of the workspace.
        engine: Not needed; here as in every stage.
        clock: What time it is; None means now.

    Raises:
        NotReadyError: If no such model version is registered, or it has predicted nothing.
        ConfigError: If alerts are wanted by e-mail but nobody says how.
    """
    config = config or workspace.settings("monitor", Config)
    _check_mail(config)
    from besana.catalog.watch import create_tables
    from besana.registry import open_registry

    create_tables(workspace.catalog)
    version = open_registry(workspace, config.tracking_uri).version(config.model, config.version)
    with open_report(workspace, "monitor", config) as report:
        report.fact("model", f"{version.model}/{version.number}")
        report.fact("dataset", version.tags.get("dataset", ""))
        _watch(workspace, config, version, report, clock or dt.datetime.now(dt.UTC))
        _tell(workspace, config, version, report)
        _show(workspace, config, version, report)
    return report


def _check_mail(config: Config) -> None:
    if config.mail_to and not (config.mail_from and config.smtp_server):
        raise ConfigError(
            "mail_to in [monitor] has no mail_from or smtp_server beside it.",
            "Say where e-mails come from and who carries them.",
        )


def _watch(
    workspace: Workspace, config: Config, version: Version, report: Report, clock: dt.datetime
) -> None:
    """Look at every camera; the model is loaded only when a look is due."""
    from besana.watching.due import Pace, plan_looks
    from besana.web.monitor_page import waiting_section

    manifest = _dataset(workspace, version).manifest()
    pace = Pace(config.window_hours, config.every_hours, config.remind_days)
    cameras = list(plan_looks(workspace, version.model, version.number, manifest, pace, clock))
    due = [camera for camera in cameras if camera.looks]
    looks = sum(len(camera.looks) for camera in due)
    report.fact("looks", looks)
    report.fact("silent_cameras", sum(camera.due_at is not None for camera in cameras))
    if due:
        learnt = _learn(workspace, config, version)
        with track("monitor", looks) as advance:
            for camera in due:
                _watch_camera(workspace, config, learnt, camera, report)
                advance(len(camera.looks))
        _count_nameless(workspace, [camera.looks for camera in due], report)
    if waiting := [camera for camera in cameras if not camera.looks]:
        report.add(waiting_section(waiting))


def _count_nameless(workspace: Workspace, due: Collection[Sequence[Look]], report: Report) -> None:
    """Tell how many served pictures named no camera."""
    from besana.watching.served import nameless

    start = min(looks[0].start_at for looks in due)
    end = max(looks[-1].end_at for looks in due)
    if count := nameless(workspace.catalog, start, end):
        report.fact("served_without_camera", count)


def _dataset(workspace: Workspace, version: Version) -> Dataset:
    from besana.shards.datasets import open_dataset

    name, _, number = version.tags.get("dataset", "").partition("/")
    if not number.isdecimal():
        raise NotReadyError(
            f"Version {version.number} of '{version.model}' does not say what it was trained on.",
            f"Run: besana register {workspace.word}",
        )
    return open_dataset(workspace, name, int(number))


def _learn(workspace: Workspace, config: Config, version: Version) -> Learnt:
    import torch

    from besana.models.model import load_model
    from besana.shards.memory import usable_processors
    from besana.watching.learnt import learn

    torch.set_num_threads(config.threads or usable_processors())
    folder = workspace.models.below(f"{version.model}/{version.number}")
    return learn(
        workspace,
        load_model(folder, device=config.device),
        version.model,
        version.number,
        _dataset(workspace, version),
        with_looks=config.embeddings,
        batch_size=config.batch_size,
    )


def _watch_camera(
    workspace: Workspace,
    config: Config,
    learnt: Learnt,
    planned: Camera,
    report: Report,
) -> None:
    from besana.watching.look import missed
    from besana.watching.reference import reference_of, region_share, seen_since
    from besana.watching.rows import count_samples
    from besana.watching.state import store_look

    camera, looks = planned.name, planned.looks
    start_at, end_at = looks[0].start_at, looks[-1].end_at
    seen, read = seen_since(workspace, learnt, camera, start_at, end_at)
    there = count_samples(workspace.catalog, camera, start_at, end_at)
    report.count_in(max(there, read.collected) + read.served)
    report.count_out(read.collected + read.served)
    report.drop("no_prediction", max(there - read.collected, 0))
    reference = reference_of(workspace, learnt, camera)
    ruler = learnt.ruler(camera, region_share(workspace, camera))
    for one in looks:
        findings = _findings(reference, seen.between(one.start_hour, one.end_hour), ruler, config)
        if planned.misses(one):
            findings = missed(findings)
        window = (one.start_at, one.end_at)
        store_look(workspace.catalog, learnt.model, learnt.version, camera, window, findings)


def _findings(
    reference: Reference | None, window: Any, ruler: Any, config: Config
) -> list[Finding]:
    from besana.watching.look import CAMERA, FRAMES, UNKNOWN_CAMERA, Finding, Terms, look

    if reference is None:
        samples = window.streams[CAMERA].said.samples if CAMERA in window.streams else 0
        return [Finding(CAMERA, UNKNOWN_CAMERA, samples, 0.0, 1.0, state="drift")]
    terms = Terms(
        config.window_hours,
        config.every_hours,
        config.false_alarms_per_month,
        config.max_drop_share,
        reference.days,
    )
    nothing = Finding(CAMERA, FRAMES, 0, 0.0, 1.0, state="unknown")
    return list(look(reference.seen, window, ruler, terms)) or [nothing]


def _tell(workspace: Workspace, config: Config, version: Version, report: Report) -> None:
    """Send what is new; what nobody took is tried again, and is on the page all the same."""
    from besana.watching.state import mark_alerted, untold

    news = untold(workspace.catalog, version.model, version.number, config.remind_days)
    report.fact("new_changes", len(news))
    if not news:
        return
    refused = 0
    for way in _ways(workspace, config, version, news):
        try:
            way()
        except StorageError as error:
            refused += 1
            report.add(Text("An alert did not get through", str(error)))
    report.fact("alerts_refused", refused)
    if not refused:
        mark_alerted(workspace.catalog, news)


def _ways(
    workspace: Workspace, config: Config, version: Version, news: Sequence[Any]
) -> Iterator[Callable[[], None]]:
    """Give what sends an alert, one a way that the settings ask for."""
    from besana.web.monitor_page import alert_message

    message = alert_message(workspace.name, f"{version.model}/{version.number}", news)
    if config.webhook:
        yield partial(post, config.webhook, message)
    if config.mail_to:
        mail = Mail(
            config.smtp_server,
            config.mail_from,
            config.mail_to,
            config.smtp_user,
            config.smtp_security,
        )
        yield partial(send_mail, mail, message["title"], message["text"])


def _show(workspace: Workspace, config: Config, version: Version, report: Report) -> None:
    from besana.watching.rhythm import live_cameras
    from besana.watching.state import latest_rows
    from besana.web.monitor_page import gauges, monitor_sections

    rows = latest_rows(workspace.catalog, version.model, version.number)
    report.fact("changes", sum(row.state == "drift" for row in rows))
    for section in monitor_sections(
        workspace, version.model, version.number, rows, config.pictures
    ):
        report.add(section)
    due = [
        ({"farm": workspace.name, "camera": name}, one.due_at.timestamp())
        for name, one in live_cameras(workspace.catalog).items()
    ]
    awaited = Gauge(
        "besana_next_frame_due_timestamp_seconds", "When the next frame should have come.", due
    )
    text = prometheus_text([*gauges(workspace.name, rows), awaited])
    Folder(workspace.reports).write(_PROMETHEUS, text.encode())
    report.files[_PROMETHEUS] = workspace.reports / _PROMETHEUS
