"""`geo engine`: compile models for this machine, see what is compiled, compare it, clear it away."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossgeo.commands import console
from crossgeo.commands.options import spread
from crossgeo.commands.run_options import Running
from crossgeo.errors import EngineError, PartialError, StoreError, UsageError

if TYPE_CHECKING:
    from crossgeo.engine.runtime.choose import Chosen, RuntimeOptions
    from crossgeo.engine.runtime.half import Half, Pixels
    from crossgeo.engine.runtime.store import Record

app = typer.Typer(no_args_is_help=True, help="Compile models for this machine; list, compare and remove what is compiled.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[WEIGHTS]...", help="By name or file; without any, those that are shipped.")]
Compatible = Annotated[bool, typer.Option("--version-compatible", help="Engines that later versions of the runtime run, too (tensorrt).")]
Ground = Annotated[Path | None, typer.Option("--index", help="Check engines on tiles of this index; else on a simulated town's.")]
_TOWN = "a simulated town"


@app.command()
@spread
def build(
    weights: Names = None, index: Ground = None, version_compatible: Compatible = False, *, running: Running, json: Json = False
) -> None:
    """Compile weights for this machine and check what comes out against torch; what is there already stays."""
    from crossgeo.engine.runtime.ahead import build_ahead, choose_ahead
    from crossgeo.engine.runtime.backends import IN_PROCESS
    from crossgeo.engine.runtime.choose import build as build_engine
    from crossgeo.engine.runtime.choose import choose

    options = replace(running.options(build=True), compatible=version_compatible, ground=_TOWN if index is None else "imagery")
    ahead = choose_ahead(options)
    chosen = ahead or choose(options)
    if chosen.backend in IN_PROCESS:
        raise UsageError(_nothing_to_build(chosen, options))
    pictures = _Pictures(index)
    rows: list[dict[str, Any]] = []
    refused: list[str] = []
    for half in _halves(weights):
        began = time.monotonic()
        try:
            record = (build_engine if ahead is None else build_ahead)(half, chosen, options, pictures)
        except EngineError as error:
            refused.append(str(error))
            console.say(str(error))
            continue
        rows.append({**_told(record), "seconds": round(time.monotonic() - began, 1)})
    if json:
        console.print_json({"engines": rows, "refused": refused})
    else:
        console.print_rows(
            [(row["title"], f"{row['backend']} {row['precision']}, {_figures(row)}, {row['seconds']:.1f} s") for row in rows]
        )
    if refused:
        every = len(rows) + len(refused)
        raise PartialError(f"{len(refused)} of {every} engines were refused or cannot be built; torch runs in their place")


@app.command("list")
def list_(json: Json = False) -> None:
    """List the engines that are compiled, with what their checks found."""
    from crossgeo.engine.runtime.store import EngineStore

    store = EngineStore()
    found: list[dict[str, Any]] = [
        {"path": str(path), "problem": str(record)} if isinstance(record, StoreError) else {"path": str(path), **_told(record)}
        for path, record in store.records()
    ]
    if json:
        console.print_json({"folder": str(store.folder), "engines": found})
        return
    if not found:
        console.say(f"{store.folder}: no engines yet; make some with: geo engine build")
    console.print_rows(
        [
            (row.get("title", "damaged"), row["problem"] if "problem" in row else
             f"{row['backend']} {row['version']}{' and later' * row['compatible']} {row['precision']}, "
             f"batches to {row['batch']}, {row['device']}; "
             f"{'REFUSED: ' + '; '.join(row['refused']) if row['refused'] else _figures(row)}; {row['bytes'] / 1e6:.1f} MB, {row['built']}")
            for row in found
        ]
    )  # fmt: skip


@app.command()
@spread
def bench(
    weights: Names = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, max=256, help="Images at once; may be given several times (1 and 8).")] = None,
    rounds: Annotated[int, typer.Option(min=2, help="How often each is timed, in turn.")] = 5,
    *,
    running: Running,
    json: Json = False,
) -> None:
    """Time the runtimes that are here beside each other, against torch as it comes, and print milliseconds an image."""
    from crossgeo.engine.runtime.timing import compare

    options = replace(running.options(build=True), ground=_TOWN)
    pictures = _Pictures(None)
    rows, without = list[dict[str, Any]](), set[tuple[str, str]]()
    for half in _halves(weights):
        for size in batch or [1, 8]:
            with console.Stages() as stages:
                found = compare(
                    half,
                    options,
                    pictures,
                    _power_of_two(size),
                    rounds,
                    lambda name: stages(f"timing {name}", 0, 1),
                    lambda *why_not: without.add(why_not),
                )
            rows += [{"half": half.title, "batch": size, **row.to_json()} for row in found]
    left_out = [{"runtime": name, "why": why_not} for name, why_not in sorted(without)]
    if json:
        console.print_json({"rows": rows, "left_out": left_out})
        return
    for one in left_out:
        console.say(f"{one['runtime']} is left out: {one['why']}")
    console.print_rows(
        [
            (f"{row['half']}, batch {row['batch']}", f"{row['label']}: {row['ms']:.2f} ms an image, {row['ratio']:.2f}x torch fp32")
            for row in rows
        ]
    )


@app.command()
def clean(
    all_: Annotated[bool, typer.Option("--all", help="Remove every engine, not only those that no command would take any more.")] = False,
) -> None:
    """Remove engines: those that are damaged, were refused, or are of another version of this program or of their runtime."""
    from importlib.metadata import PackageNotFoundError

    from crossgeo.engine.runtime.backends import backend
    from crossgeo.engine.runtime.half import code_digest
    from crossgeo.engine.runtime.store import EngineStore

    def stale(record: Record | StoreError) -> bool:
        if all_ or isinstance(record, StoreError) or record.refused or record.code != code_digest():
            return True
        try:
            return record.key.version != backend(record.key.backend, record.key.compatible).version()
        except (PackageNotFoundError, UsageError):
            return True

    store = EngineStore()
    count, freed = store.remove(stale, everything=all_)
    console.say(f"{store.folder}: {count} engine{'s' * (count != 1)} removed, {freed / 1e6:.1f} MB")


class _Pictures:
    """Ground to check engines with, made when it is first asked for."""

    def __init__(self, index: Path | None) -> None:
        self._index = index
        self._made: list[Pixels] = []

    def __call__(self) -> Pixels:
        if not self._made:
            self._made.append(_of_index(self._index) if self._index is not None else _of_town())
        return self._made[0]


def _of_index(path: Path) -> Pixels:
    from crossgeo.engine.runtime.pictures import of_index
    from crossgeo.indexer.index import GeoIndex

    with GeoIndex.open(path) as index:
        return of_index(index)


def _of_town() -> Pixels:
    from crossgeo.town.tiles import town_tiles

    return town_tiles()


def _halves(weights: list[str] | None) -> list[Half]:
    from crossgeo.engine.halves_of import halves_of
    from crossgeo.models.library import shipped_weights

    return [half for name in weights or shipped_weights() for half in halves_of(name)]


def _nothing_to_build(chosen: Chosen, options: RuntimeOptions) -> str:
    """Say why there is nothing to build, and what can be built for the device instead."""
    from crossgeo.engine.runtime.backends import BUILT, backend

    taken = f"--runtime {chosen.backend}" if options.runtime == chosen.backend else f"{options.runtime} takes {chosen.backend}, which"
    why_not = {name: backend(name).missing(options.device) for name in BUILT}
    able = [name for name, reason in why_not.items() if reason is None]
    if able:
        return f"{taken} keeps no engines and runs without; for {options.device} --runtime {' or '.join(able)} can be built"
    reasons = "; ".join(f"{name}: {reason}" for name, reason in why_not.items())
    return f"{taken} keeps no engines and runs without; nothing can be built for {options.device} here: {reasons}"


def _told(record: Record) -> dict[str, Any]:
    key = record.key
    return {
        "title": record.title, "backend": key.backend, "version": key.version, "compatible": key.compatible, "precision": key.precision,
        "batch": key.largest, "device": key.device, "checked_on": record.ground or None, "figures": record.figures,
        "refused": list(record.refused), "bytes": record.size_bytes, "built": record.built,
    }  # fmt: skip


def _figures(row: dict[str, Any]) -> str:
    if not row["figures"]:
        return "unchecked until a card first uses it"
    words = {"box_px_median": "boxes {:.2f} px off", "same_first": "same first {:.0%}"}
    found = ", ".join(
        words.get(name, f"{name.removesuffix('_cosine_least')} cosine {{:.5f}}").format(value)
        for name, value in row["figures"].items()
        if name != "pictures"
    )
    of = f" of {row['checked_on']}" if row["checked_on"] else ""
    return f"{found} on {row['figures']['pictures']:.0f} pictures{of}" if "pictures" in row["figures"] else found


def _power_of_two(batch: int) -> int:
    if batch & (batch - 1):
        raise UsageError(f"--batch {batch}: give a power of two, like 16 or 32")
    return batch
