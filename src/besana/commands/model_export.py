"""What `besana export FARM onnx` and `besana export FARM edge` write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from besana.console import percent, plain_console
from besana.errors import ConfigError
from besana.storage import Storage, open_storage
from besana.workspace import Workspace

if TYPE_CHECKING:
    from besana.models.onnx_model import Certificate, Precision


def export_registered(
    workspace: Workspace,
    model: str,
    version: str,
    out: str,
    *,
    precision: Sequence[Precision],
    tracking_uri: str = "",
    for_device: bool = False,
) -> int:
    """Export a registered version, certify it, and copy it out where that was asked for.

    Args:
        workspace: Where the model is.
        model: Its name.
        version: Champion, challenger or a number.
        out: Where to copy it; empty: nowhere.
        precision: Which files.
        tracking_uri: MLflow server; empty: the workspace's.
        for_device: With all that a device needs to run it, and without exports that do not hold.

    Returns:
        How many files were copied, or lie in the model's own folder.

    Raises:
        NotReadyError: If there is no such version.
        ConfigError: If the place holds something else, or is missing.
    """
    from besana.learning.exporting import export_folder, export_version
    from besana.registry import open_registry

    if for_device and not out:
        raise ConfigError("Where to write the folder for the device is missing.", "Give OUT.")
    registry = open_registry(workspace, tracking_uri)
    registered = registry.version(model, version)
    certificate = export_version(workspace, registry, registered, precision)
    _show(certificate)
    source = export_folder(workspace, registered)
    files = _files(certificate, with_refused=not for_device)
    if not out:
        typer.echo(f"{len(files)} files in {source.url}")
        return len(files)
    extra: dict[str, bytes] = {}
    if for_device:
        from besana.serving.edge import edge_files

        extra = edge_files(certificate, workspace.cameras)
    count = _copy(source, open_storage(out), files, extra)
    typer.echo(f"{count} files in {out}")
    return count


def _files(certificate: Certificate, *, with_refused: bool) -> list[str]:
    from besana.models.onnx_model import CERTIFICATE, GOLDEN

    exports = certificate.exports.values()
    graphs = [export.file for export in exports if export.holds or with_refused]
    return [*graphs, GOLDEN, CERTIFICATE]


def _copy(source: Storage, out: Storage, files: Sequence[str], extra: dict[str, bytes]) -> int:
    """Copy an export; its certificate comes last, so that half a copy is none."""
    from besana.models.onnx_model import CERTIFICATE

    there = out.read(CERTIFICATE) if out.size(CERTIFICATE) is not None else None
    if there not in (None, source.read(CERTIFICATE)) or (there is None and any(out.list())):
        raise ConfigError(f"'{out.url}' holds something else.", "Choose an empty folder.")
    for name, data in extra.items():
        out.write(name, data)
    for name in files:
        out.write(name, source.read(name))
    return len(files) + len(extra)


def _show(certificate: Certificate) -> None:
    from rich.table import Table

    table = Table(
        *("export", "same best class", "largest gap", "size", "one picture", "holds"),
        title=f"{certificate.model}/{certificate.version}, "
        f"{certificate.golden_pictures} golden pictures",
        header_style="bold",
    )
    for name, export in certificate.exports.items():
        table.add_row(name, *_cells(export))
    plain_console(soft_wrap=False).print(table)


def _cells(export: Any) -> tuple[str, ...]:
    return (
        percent(export.top1_agreement_share),
        f"{export.probability_gap:.2g}",
        f"{export.size_bytes / 1e6:.1f} MB",
        f"{export.latency_ms:.2f} ms",
        "yes" if export.holds else "no",
    )
