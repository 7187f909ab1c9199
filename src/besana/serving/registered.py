"""Which versions to load, as the registry or one folder says."""

from __future__ import annotations

from besana.errors import NotReadyError
from besana.models.onnx_model import read_certificate
from besana.registry import EXPORT_FOLDER, EXPORT_TAG, Registry, Version
from besana.serving.fleet import Lineup, Lineups, Source
from besana.serving.shares import PROPERTY, Shares, read_shares
from besana.storage import open_storage
from besana.workspace import Workspace


def registry_lineups(workspace: Workspace, registry: Registry, model: str) -> Lineups:
    """Follow the aliases and shares of a line of models.

    Args:
        workspace: Where its folders lie.
        registry: Where it stands.
        model: Its name.
    """

    def ask() -> Lineup:
        versions = {version.number: version for version in registry.versions(model)}
        champion = next((v for v in versions.values() if "champion" in v.aliases), None)
        if champion is None:
            raise NotReadyError(
                f"Model '{model}' has no champion.", f"Run: besana register {workspace.word}"
            )
        shares = read_shares(registry.property_of(model, PROPERTY))
        wanted = {*shares.percent, *shares.shadow}
        others = {
            number: _source(workspace, versions[number])
            for number in sorted(wanted)
            if number in versions and versions[number].tags.get(EXPORT_TAG)
        }
        return Lineup(_source(workspace, champion), others, shares)

    return ask


def folder_lineups(folder: str) -> Lineups:
    """Serve one exported folder, without a registry."""
    storage = open_storage(folder)

    def ask() -> Lineup:
        number = read_certificate(storage).version
        return Lineup(Source(number, storage, ""), {}, Shares())

    return ask


def _source(workspace: Workspace, version: Version) -> Source:
    sha256 = version.tags.get(EXPORT_TAG, "")
    if not sha256:
        raise NotReadyError(
            f"Version {version.number} of model '{version.model}' is not exported.",
            f"Run: besana export {workspace.word} onnx --model-version {version.number}",
        )
    place = f"{version.model}/{version.number}/{EXPORT_FOLDER}"
    return Source(version.number, workspace.models.below(place), sha256)
