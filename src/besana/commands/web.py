"""Open the pages a team works in: label, review, look at the data, see how far it is.

Reads: everything in the workspace
Writes: labels, skips, undone labels; web.db with people and sessions; web.log
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from besana.config import Settings
from besana.console import plain_console
from besana.errors import ConfigError
from besana.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import Console

    from besana.web.desk import Desk
    from besana.web.server import Address

EXAMPLE = "besana web farm --port 8300"


class Config(Settings):
    """Settings of `web`."""

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on; others than this machine need --lan.",
    )
    port: int = Field(default=8300, ge=0, le=65535, description="Port; 0: any that is free.")
    lan: bool = Field(
        default=False, description="Let other machines in, once somebody has a password."
    )
    name: list[str] = Field(
        default=[], description="Further names by which browsers call this machine, as barn.local."
    )
    certificate: Path | None = Field(
        default=None,
        description="TLS certificate (PEM), with --key; with --lan one is made when none is given.",
    )
    key: Path | None = Field(default=None, description="Private key of the certificate (PEM).")
    plain_http: bool = Field(
        default=False, description="With --lan: go without TLS; whoever listens reads passwords."
    )
    overlap_share: float = Field(
        default=0.1, ge=0, le=1, description="Share of the samples that two people see, blind."
    )
    seed: int = Field(default=0, ge=0, description="Another seed, another random order.")


def run(workspace: Workspace, config: Config, until: Callable[[], bool] | None = None) -> None:
    """Serve the pages until Ctrl-C.

    Args:
        workspace: What they show.
        config: Settings.
        until: Asked a few times a second whether to stop.

    Raises:
        ConfigError: If the address cannot be had, or other machines were let in without a
            password or without TLS.
        MissingExtraError: If a library is not installed.
    """
    from besana.web.server import bind, check_libraries, log_to, serve

    check_libraries("web")
    from besana.web.desk import Desk, DeskSettings
    from besana.web.site import build_site

    _check_address(config)
    with contextlib.ExitStack() as closing:
        settings = DeskSettings(overlap_share=config.overlap_share, seed=config.seed)
        desk = closing.enter_context(contextlib.closing(Desk(workspace, settings)))
        if config.lan and not len(desk.people):
            raise ConfigError(
                "Nobody has a password yet, so other machines are not let in.",
                "Start once without --lan, open the link, choose a password.",
            )
        address = _address(workspace, config)
        taken = closing.enter_context(bind(address))
        log_to(workspace.path / "web.log")
        port = taken.getsockname()[1]
        _greet(plain_console(), desk, address, port)
        app = build_site(desk, address.hosts(port), secure=address.certificate is not None)
        serve(app, taken, address, until=until or (lambda: False), beside=desk.watch)


def _check_address(config: Config) -> None:
    """Check that what is open to others is open on purpose."""
    if not _is_local(config) and not config.lan:
        raise ConfigError(
            f"{config.host} can be reached from other machines.", "Say so with --lan."
        )
    if (config.certificate is None) != (config.key is None):
        raise ConfigError("A certificate needs its key.", "Give --certificate and --key.")


def _is_local(config: Config) -> bool:
    return config.host in ("127.0.0.1", "::1", "localhost")


def _address(workspace: Workspace, config: Config) -> Address:
    """Say where to listen, with TLS wherever other machines come in and nobody refused it."""
    from besana.web.certificate import own_certificate
    from besana.web.server import Address

    names = (*config.name, *(_own_addresses() if config.lan else ()))
    files = None
    if config.certificate is not None and config.key is not None:
        files = (config.certificate, config.key)
    elif config.lan and not config.plain_http:
        files = own_certificate(workspace.path, names)
    host = "0.0.0.0" if config.lan and _is_local(config) else config.host
    return Address(host, config.port, names, files)


def _own_addresses() -> list[str]:
    """List this machine's name and the address by which its network knows it."""
    import socket

    found = [socket.gethostname().lower()]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; only chooses the way out
        found.append(probe.getsockname()[0])
    return found


def _greet(console: Console, desk: Desk, address: Address, port: int) -> None:
    """Print where the pages are, and the link that makes an admin."""
    from besana.web.certificate import fingerprint
    from besana.web.qr import qr_text

    home = f"{address.scheme}://{[address.host, *address.names][-1]}:{port}"
    console.print(f"The pages are at {home} (stop with Ctrl-C).")
    if address.names:
        console.print(qr_text(home))
    if address.certificate:
        shown = fingerprint(address.certificate[0])
        console.print(f"Browsers ask once whether to trust it; SHA-256 {shown}")
    link = f"{home}/start#{desk.people.one_time_token()}"
    if len(desk.people):
        console.print(f"Sign in there. Forgotten the admin's password: {link}")
    else:
        console.print(f"Open this link once to become the admin: {link}")
