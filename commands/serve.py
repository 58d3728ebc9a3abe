"""`geo serve`: the same questions over HTTP, and a map page to ask them from."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossgeo.commands import console
from crossgeo.commands.options import Models, spread
from crossgeo.commands.run_options import RUNNING, Running
from crossgeo.commands.shard_options import Sharding
from crossgeo.errors import InputError, UsageError

if TYPE_CHECKING:
    from crossgeo.engine.runtime.merged import Merging
    from crossgeo.web.keys import Keys
    from crossgeo.web.settings import Settings

SERVER, LIMITS = "Server", "Limits"
NEEDED = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart", "prometheus_client": "prometheus-client"}
HERE = ("127.0.0.1", "localhost", "::1")
MAX_MB = 1_000_000
ON_GPU = 64  # rows that go through a model together: two passes of a question's 24 headings and more


@dataclass(frozen=True)
class Serving:
    """Where the service listens, who may ask, and how much."""

    host: Annotated[str, typer.Option(help="Address to listen at.", envvar="GEO_HOST", show_envvar=True, rich_help_panel=SERVER)] = (
        "127.0.0.1"
    )
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port; 0 takes a free one.", envvar="GEO_PORT", show_envvar=True, rich_help_panel=SERVER),
    ] = 8080
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another name by which clients call it; may be given again.", rich_help_panel=SERVER)
    ] = None
    trust_proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address or network of a proxy whose X-Forwarded-For says who asks; may be given again.", rich_help_panel=SERVER),
    ] = None
    keys: Annotated[
        Path | None,
        typer.Option(
            help="File of API keys: a line each, `read KEY` or `admin KEY`; else $GEO_KEYS holds such lines.", rich_help_panel=SERVER
        ),
    ] = None
    jobs: Annotated[
        Path | None, typer.Option(help="Folder of jobs; without it one in the user's own data.", envvar="GEO_JOBS", rich_help_panel=SERVER)
    ] = None
    job_days: Annotated[float, typer.Option(min=0.01, max=3650.0, help="How long finished jobs are kept.", rich_help_panel=SERVER)] = 7.0
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Questions answered at once, of each index; all processors.", rich_help_panel=LIMITS)
    ] = None
    max_batch: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=256,
            help="Rows of what concurrent questions ask of a model that run together; 0: each by itself. 64 on a GPU, 0 on a processor.",
            rich_help_panel=RUNNING,
        ),
    ] = None
    max_delay_ms: Annotated[
        float, typer.Option(min=0.0, max=1000.0, help="How long they wait for others where the model is free.", rich_help_panel=RUNNING)
    ] = 0.0
    waiting: Annotated[int, typer.Option(min=1, max=10_000, help="Questions that may wait, of each index.", rich_help_panel=LIMITS)] = 64
    rate: Annotated[
        float, typer.Option(min=0.0, max=1e6, help="Questions a minute of one key or address; 0: no limit.", rich_help_panel=LIMITS)
    ] = 600.0
    max_upload_mb: Annotated[int, typer.Option(min=1, max=MAX_MB, help="Size of one photo to locate.", rich_help_panel=LIMITS)] = 64
    max_job_mb: Annotated[int, typer.Option(min=1, max=MAX_MB, help="Size of all photos of a job.", rich_help_panel=LIMITS)] = 2000
    drain_s: Annotated[
        float, typer.Option(min=0.0, max=3600.0, help="Seconds for what is being answered when it is stopped.", rich_help_panel=LIMITS)
    ] = 30.0

    def settings(self) -> Settings:
        """Return it as the service takes it."""
        from crossgeo.web.settings import Limits, Settings

        usual = Limits()
        limits = Limits(
            photo_bytes=self.max_upload_mb * 1_000_000,
            job_bytes=self.max_job_mb * 1_000_000,
            receiving_bytes=max(usual.receiving_bytes, 2 * self.max_job_mb * 1_000_000),
            waiting=self.waiting,
            waiting_of_client=max(1, self.waiting * 3 // 4),
            rate_per_minute=self.rate,
            drain_s=self.drain_s,
        )
        own = {"localhost", "127.0.0.1", "[::1]", f"[{self.host}]" if ":" in self.host else self.host}
        hosts = frozenset(name.lower() for name in own | set(self.allow_host or ()))
        return Settings(self.jobs or own_jobs(), limits, hosts, self.job_days, tuple(map(_network, self.trust_proxy or ())))

    def merging(self, device: str) -> Merging | None:
        """Return what merges the passes of concurrent questions on a device; None where each runs by itself."""
        from crossgeo.engine.runtime.merged import Merging

        rows = self.max_batch if self.max_batch is not None else ON_GPU if device.startswith("cuda") else 0
        return Merging(rows, self.max_delay_ms) if rows else None

    def known_keys(self) -> Keys | None:
        """Return the keys that it was given; None where it was given none."""
        from crossgeo.web.keys import Keys

        if self.keys is None:
            text = os.environ.get("GEO_KEYS")
            return None if text is None else Keys.parse(text, "$GEO_KEYS")
        try:
            return Keys.parse(self.keys.read_text(encoding="utf-8"), str(self.keys))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise InputError(f"--keys {self.keys}: cannot be read ({why}); give a file with a line for each key") from error


@spread
def serve(
    indexes: Annotated[list[Path], typer.Argument(metavar="INDEX...", help="Indexes to serve, each by its folder's name without .geo.")],
    serving: Serving,
    sharding: Sharding,
    models: Models,
    running: Running,
) -> None:
    """Answer photos over HTTP, with a map page at /, until it is told to stop (Ctrl-C)."""
    check_installed()
    from crossgeo.engine.search import GeoSearch
    from crossgeo.web.served import Indexes, Opening, names_of
    from crossgeo.web.server import bind, run

    settings, keys, names = serving.settings(), serving.known_keys(), names_of(indexes)
    with bind(serving.host, serving.port) as listening:  # before models are loaded, which takes a while
        if serving.host not in HERE and keys is None:
            console.say(
                f"warning: everybody who reaches {serving.host} may ask; give --keys, or leave --host out to serve this machine alone"
            )
        runtime = running.options(build=True)
        with ExitStack() as closing:
            if (merging := serving.merging(runtime.device)) is not None:
                runtime = replace(runtime, merging=closing.enter_context(merging))
            rows = closing.enter_context(sharding.spread())
            how = Opening(
                lambda path: models.open_at(path, runtime, rows), GeoSearch.warm, serving.workers, serving.waiting, merging=merging
            )
            opened = closing.enter_context(Indexes(names, how))
            if rows is not None:
                closing.callback(rows.shelf.open_no_more)  # first: a generation that is being opened would be waited for
            run(opened, settings, keys, listening, lambda address: console.say(f"serving {', '.join(names)} at {address}"))
    console.say("stopped")


def _network(text: str) -> str:
    """Return an address or a network of proxies as it is compared; raise UsageError where it is none, or everybody's."""
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise UsageError(f"--trust-proxy {text}: is no address or network; give the proxy's, like 127.0.0.1 or 10.0.0.0/24") from error
    if network.prefixlen == 0:
        raise UsageError(f"--trust-proxy {text}: is everybody, who could then ask under any address; give the proxy's own")
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def check_installed() -> None:
    """Raise UsageError where what the service needs is not installed."""
    missing = [package for module, package in NEEDED.items() if find_spec(module) is None]
    if missing:
        raise UsageError(f"geo serve needs {', '.join(missing)}, which are not installed; get them with: pip install 'crossgeo[serve]'")


def own_jobs() -> Path:
    """Return where jobs are kept unless the user says where."""
    import platformdirs

    return platformdirs.user_data_path("crossgeo", appauthor=False) / "jobs"
