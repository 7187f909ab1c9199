"""Set a bucket up, check it, or upload what lies on this disk into it.

Reads: besana.toml; with upload: frames, shards, datasets, embeddings, models
Writes: bucket/*.json; with --apply: the bucket's settings; with upload: the bucket
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from besana.buckets.probes import Finding, probe_service, probe_storage
from besana.buckets.rules import NotOfferedError, Rule, documents, place_of, rules
from besana.buckets.upload import size_of, upload, verify
from besana.config import Settings
from besana.console import plain_console
from besana.errors import BesanaError, ConfigError
from besana.progress import track_bytes
from besana.storage import Folder, open_storage
from besana.traffic import METER
from besana.workspace import Workspace

EXAMPLE = "besana bucket check farm"
ARGUMENTS = ("action", "farm")

HEAVY = ("frames", "shards", "datasets", "embeddings", "models")
_READ_BACK = 20


class Config(Settings):
    """What to do with which bucket."""

    action: Literal["init", "check", "upload"] = Field(
        description="init: write the bucket's rules as JSON; check: try it out and say what is"
        " missing; upload: copy the heavy folders from this disk."
    )
    store: str = Field(
        default="", description="The bucket, as s3://bucket/prefix; empty: store of besana.toml."
    )
    apply: bool = Field(
        default=False, description="With init: also set the rules, keeping others' beside them."
    )
    threads: int = Field(
        default=16, ge=1, le=256, description="With upload: files at the same time."
    )


def run(workspace: Workspace, config: Config) -> list[Finding]:
    """Set up, check or fill a bucket, and print what was found.

    Raises:
        ConfigError: If there is no bucket.
        MissingExtraError: If boto3 is needed and not installed.
        StorageError: If the bucket refused.
        BesanaError: If something is missing, after all of it was printed.
    """
    store = config.store or str(workspace.tables.get("store", ""))
    if "://" not in store:
        raise ConfigError(
            "There is no bucket.", 'Write store = "s3://bucket/prefix" in besana.toml, or --store.'
        )
    return {"init": _init, "check": _check, "upload": _upload}[config.action](
        workspace, config, store.rstrip("/")
    )


def _init(workspace: Workspace, config: Config, store: str) -> list[Finding]:
    place = place_of(store)
    folder = Folder(workspace.path / "bucket")
    for name, document in documents(place).items():
        folder.write(name, json.dumps(document, indent=2).encode() + b"\n")
    say = plain_console().print
    say(f"The rules lie in {folder.url}.")
    if not config.apply:
        say("Set them with --apply, or hand them to whoever owns the account.")
        return []
    for rule in rules(place):
        with contextlib.suppress(NotOfferedError):
            if not rule.holds():
                rule.apply()
    return _shown(_judged(rule, "It was set, but is not so.") for rule in rules(place))


def _judged(rule: Rule, advice: str) -> Finding:
    try:
        holds = rule.holds()
    except NotOfferedError:
        return Finding(rule.title, False, "This server has no such rule; see to it by other means.")
    return Finding(rule.title, holds, "" if holds else advice)


def _check(_workspace: Workspace, _config: Config, store: str) -> list[Finding]:
    return _shown(_findings(store))


def _findings(store: str) -> Iterator[Finding]:
    if store.startswith("s3://"):
        place = place_of(store)
        yield from probe_service(place)
        for rule in rules(place):
            yield _judged(rule, "Run: besana bucket init FARM --apply")
    yield from probe_storage(open_storage(store))


def _shown(findings: Iterator[Finding]) -> list[Finding]:
    say = plain_console().print
    found = []
    for finding in findings:
        found.append(finding)
        advice = "" if finding.holds else f": {finding.advice}"
        say(f"{'yes' if finding.holds else 'NO '}  {finding.title}{advice}")
    missing = sum(not finding.holds for finding in found)
    if missing:
        raise BesanaError(f"{missing} of {len(found)} checks failed.", "See the lines with NO.")
    return found


def _upload(workspace: Workspace, config: Config, store: str) -> list[Finding]:
    before = METER.total
    say = plain_console().print
    different: list[str] = []
    for name in HEAVY:
        folder = workspace.path / name
        if not folder.is_dir():
            continue
        files, size_bytes = size_of(folder)
        with track_bytes(name, files, size_bytes) as advance:
            done = upload(folder, f"{store}/{name}", threads=config.threads, advance=advance)
        compared = verify(folder, f"{store}/{name}", _READ_BACK) if not done.different else 0
        different += [f"{name}/{key}" for key in done.different]
        rate = done.bytes_sent / 1e6 / max(done.seconds, 1e-9)
        outcome = ", ".join(
            f"{count:,} {what.replace('_', ' ')}" for what, count in done.files.items()
        )
        say(
            f"{name}: {outcome or 'nothing'}; {done.bytes_sent / 1e6:,.1f} MB,"
            f" {rate:,.1f} MB/s, {compared} read back and compared"
        )
    spent = METER.total - before
    say(f"requests: {spent.puts:,} PUT, {spent.gets:,} GET and HEAD, {spent.lists:,} LIST")
    if different:
        raise BesanaError(
            f"Something else lies under {', '.join(different[:3])}.",
            "Choose another prefix, or remove what is there.",
        )
    return []
