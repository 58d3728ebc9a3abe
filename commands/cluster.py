"""`geo cluster`: make this machine a node of a Ray cluster, look at the cluster, leave it; what it does is Ray's own `ray start`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossgeo.commands import console
from crossgeo.errors import ClusterError, MismatchError, UsageError

if TYPE_CHECKING:
    from crossgeo.engine.cluster.ray_cluster import Node

TOKEN = Path("~/.ray/auth_token")  # where Ray itself looks for it
app = typer.Typer(no_args_is_help=True, help="Make this machine a node of a Ray cluster, look at the cluster, leave it.")


def know_clusters() -> None:
    """Have Ray, where a command uses it, keep to the settings of `geo cluster start` and show its token, unless the user says otherwise."""
    from crossgeo.engine.cluster.ray_start import environment

    for name, value in environment(None).items():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ or TOKEN.expanduser().is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


@app.command()
def start(
    head: Annotated[bool, typer.Option("--head", help="Start a cluster, of which this machine is the first node.")] = False,
    address: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Join the cluster of this head node.")] = None,
    host: Annotated[str | None, typer.Option(help="The address by which other nodes reach this one; one is chosen without it.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port of the head node, for nodes.")] = 6379,
    client_port: Annotated[int, typer.Option(min=0, max=65535, help="The port of the head node for ray://; 0: none.")] = 10001,
    cpus: Annotated[int | None, typer.Option(min=0, help="How many processors work for the cluster; all without it.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="How many GPUs do; all without it.")] = None,
    object_store: Annotated[str | None, typer.Option(metavar="SIZE", help="Memory for what travels between nodes, like 1GB.")] = None,
    token_file: Annotated[Path, typer.Option(help="The cluster's token; the head makes it where there is none.")] = TOKEN,
    temp_dir: Annotated[Path | None, typer.Option(help="A short path for Ray's logs and sockets, on this machine's own disk.")] = None,
    block: Annotated[bool, typer.Option("--block", help="Run until it is stopped: for systemd and containers.")] = False,
) -> None:
    """Start a Ray cluster here, or join one: with its token, without dashboard and usage statistics, and so that a lost node is noticed."""
    from crossgeo.commands.index_options import size_bytes
    from crossgeo.engine.cluster.ray_connect import Where, installed
    from crossgeo.engine.cluster.ray_start import NodeOptions, check_token, environment, make_token, own_address
    from crossgeo.engine.cluster.ray_start import start as command

    if head == (address is not None):
        raise UsageError("give either --head, for the first node, or --address HOST:PORT of the head node")
    if address is not None and (not (where := Where.of(address)).host or where.client):
        raise UsageError(f"--address {address}: give the head node's HOST:PORT, like 10.0.0.5:6379")
    installed()
    token = token_file.expanduser().absolute()
    made = head and make_token(token)
    check_token(token)
    own = host or own_address()
    store = None if object_store is None else int(size_bytes(object_store, "--object-store"))
    options = NodeOptions(address, own, port, client_port, cpus, gpus, store, None if temp_dir is None else temp_dir.absolute(), block)
    told = {**os.environ, **environment(token)}
    if head:
        _say_what_next(f"{own}:{port}", f"ray://{own}:{client_port}" if client_port else None, token_file, made)
    if block:
        raise typer.Exit(subprocess.run(command(options), env=told, check=False).returncode)
    _done(subprocess.run(command(options), env=told, capture_output=True, text=True, check=False), "started")
    console.say(
        f"this machine is the head of the cluster at {own}:{port}" if head else f"this machine is a node of the cluster at {address}"
    )


@app.command()
def stop(force: Annotated[bool, typer.Option("--force", help="Kill what does not end by itself.")] = False) -> None:
    """End all that Ray runs on this machine for you, whoever started it; on the head node that ends the cluster."""
    from crossgeo.engine.cluster.ray_connect import installed
    from crossgeo.engine.cluster.ray_start import ray

    installed()
    _done(subprocess.run(ray("stop", *(["--force"] if force else [])), capture_output=True, text=True, check=False), "stopped")
    console.say("no Ray runs on this machine any more")


@app.command()
def status(
    where: Annotated[str, typer.Argument(metavar="[WHERE]", help="ray, HOST:PORT or ray://HOST:PORT.")] = "ray",
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show a cluster's nodes, what they have, and whether they run what this machine does."""
    from crossgeo.engine.cluster.ray_cluster import RayCluster

    with RayCluster(where) as cluster:
        seen = cluster.look()
        rows = [_told(node, seen.get(node.label)) for node in cluster.nodes()]
        label, warnings = cluster.label, cluster.warnings
    if json:
        console.print_json({"cluster": label, "nodes": rows, "warnings": list(warnings)})
    else:
        console.print_rows([("cluster", label), *((row["node"], _line(row)) for row in rows)])
        for warning in warnings:
            console.say(warning)
    if other := [row for row in rows if row["differs"] is not None]:
        raise MismatchError(f"{len(other)} of {len(rows)} nodes do not run what this machine does; install the same there")


def _told(node: Node, versions: Any) -> dict[str, Any]:
    from crossgeo.engine.cluster.versions import difference, here

    differs = "it did not say in time, or has no crossgeo" if versions is None else difference(here(), versions)
    has = {"cpus": node.cpus, "gpus": node.gpus, "memory_bytes": int(node.memory_bytes)}
    return {"node": node.label, **has, "versions": versions, "differs": differs or None}


def _line(row: dict[str, Any]) -> str:
    has = f"{row['cpus']:g} processors, {row['gpus']:g} GPUs, {row['memory_bytes'] / 1e9:.1f} GB"
    return f"{has}; {'runs what this machine does' if row['differs'] is None else row['differs']}"


def _say_what_next(address: str, client: str | None, token: Path, made: bool) -> None:
    console.say(f"{'made' if made else 'took'} the token {token}: copy it to every machine of the cluster, and to those that use it")
    other = "" if token == TOKEN else f" --token-file {token}"
    console.say(f"on every other node, with the same crossgeo:  geo cluster start --address {address}{other}")
    console.say(f"then, on any node:  geo index build ... --cluster {address}{f'  (from elsewhere: --cluster {client})' if client else ''}")


def _done(done: subprocess.CompletedProcess[str], what: str) -> None:
    if done.returncode != 0:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise ClusterError(f"Ray could not be {what} here: {said[-1] if said else f'exit code {done.returncode}'}")
