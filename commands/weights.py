"""`geo weights`: models that came with the package, that were imported or pulled, and that others publish."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossgeo.commands import console, outputs
from crossgeo.commands.options import DATA_LAYOUTS
from crossgeo.errors import InputError, UsageError, WeightsError

if TYPE_CHECKING:
    from crossgeo.models.published.importing import AerialView, Published

app = typer.Typer(no_args_is_help=True, help="List, read, import, export and fetch model weights.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
LARGE_BYTES = 200_000_000  # what takes long enough to say so
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what has that name.")]


class Origin(StrEnum):
    """Whose checkpoint it is."""

    l2ltr = "l2ltr"
    detgeo = "detgeo"
    timm_vit_r50 = "timm-vit-r50"
    timm_convnextv2 = "timm-convnextv2"


class Target(StrEnum):
    """Whose program is to read it."""

    l2ltr = "l2ltr"
    detgeo = "detgeo"


class View(StrEnum):
    """How the imagery was shown in training."""

    polar = "polar"
    plain = "plain"


From = Annotated[
    Origin | None, typer.Option("--from", help="Whose checkpoint it is; not told for weights that this program wrote.", show_choices=True)
]
Polar = Annotated[View | None, typer.Option(help="How L2LTR's imagery was shown in training, which its file does not say.")]
Licence = Annotated[str, typer.Option(help="The licence under which you have them, for the card.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the weights that are here, and those that others publish."""
    from crossgeo.models.registry import entries

    found = entries()
    if json:
        console.print_json([entry.to_json() for entry in found])
        return
    rows = []
    for entry in found:
        size = None if entry.size_bytes is None else f"{entry.size_bytes / 1e6:.1f} MB"
        told = (entry.where, entry.kind, entry.view and f"{entry.view} view", size, entry.sha256[:12], entry.licence, entry.url)
        rows.append((entry.name, ", ".join(value for value in told if value)))
    console.print_rows(rows)


@app.command()
def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that `geo weights list` shows, or a file.")], json: Json = False
) -> None:
    """Show the card of weights: what they are, what they were trained on, what they reach, under which licence."""
    from crossgeo.models.checkpoint import load_weights
    from crossgeo.models.library import find_weights
    from crossgeo.models.registry import remotes

    elsewhere = {remote.name: remote for remote in remotes()}
    if name in elsewhere and not _is_here(name):
        card: dict[str, Any] = {key: value for key, value in vars(elsewhere[name]).items() if value} | {"where": "remote"}
    else:
        card, state = load_weights(find_weights(name))
        card["parameters"] = sum(tensor.numel() for tensor in state.values())
    if json:
        console.print_json(card)
        return
    console.print_rows([(key, f"{value:,}" if key == "parameters" else _words(value)) for key, value in sorted(card.items())])


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint: .pth, .pt, .tar, .bin, .npz or .safetensors.")],
    out: Annotated[str, typer.Option(help="The name they get, by which other commands take them, or a .safetensors path.")],
    origin: From = None,
    view: Polar = None,
    probe: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A data set; a few of its pairs tell which view L2LTR's weights were trained with.")
    ] = None,
    layout: Annotated[str | None, typer.Option(help=f"Its layout: {DATA_LAYOUTS}; else its files tell.")] = None,
    licence: Licence = "",
    overwrite: Overwrite = False,
) -> None:
    """Bring in published weights: check every tensor, rename them, write them with a card. Nothing in the file is run."""
    from crossgeo.models.library import place_for
    from crossgeo.models.published.importing import ORIGINS, check_view, published

    if layout is not None and probe is None:
        raise UsageError("--layout is that of the data set that --probe names")
    name, path = place_for(out, overwrite=overwrite)
    if path.parent.exists() or Path(out) == path:
        outputs.check_file(path, "--out")
    if origin is None:
        if view is not None or probe is not None or licence:
            raise UsageError("weights with a card say all of that themselves; give --from for those of another program")
        _copy(file, name, path)
        console.say(f"{path}: written; take it by its name, {name}")
        return
    if probe is not None and not ORIGINS[origin.value].needs_view:
        raise UsageError(f"--probe tells which imagery L2LTR's weights were trained with; {origin.value} needs no such thing")
    if probe is None:
        check_view(str(file), origin.value, view)
    if file.is_file() and file.stat().st_size > LARGE_BYTES:
        console.say(f"opening {file}, {file.stat().st_size / 1e9:.1f} GB")
    with published(file, origin.value) as found:
        told: AerialView | None = None if view is None else view.value
        about: dict[str, Any] = {}
        if probe is not None:
            told, about["probe"] = _probed(found, probe, layout, told)
        card = found.write(path, view=told, name=name, licence=licence or None, about=about)
    _say_brought_in(name, path, card)


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that `geo weights list` shows, or a file.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to write: .pth, or .safetensors.")],
    target: Annotated[Target, typer.Option("--to", help="Whose program is to read it.")],
    overwrite: Overwrite = False,
) -> None:
    """Write weights as the program reads them that they came from, every tensor as it was."""
    from crossgeo.models.published.exporting import export_weights

    outputs.check_file(file, "FILE")
    count = export_weights(name, target.value, file, overwrite=overwrite)
    console.say(f"{file}: {count} tensors as {target.value} names them")


@app.command()
def pull(
    what: Annotated[str, typer.Argument(metavar="NAME|URL", help="A remote name that `geo weights list` shows, or an address.")],
    out: Annotated[str | None, typer.Option(help="The name they get here, unless their own.")] = None,
    origin: From = None,
    view: Polar = None,
    sha256: Annotated[str, typer.Option(help="What the file's SHA-256 should be, or its first eight digits or more.")] = "",
    licence: Licence = "",
    offline: Annotated[bool, typer.Option("--offline", help="Ask nobody: succeed only with what is here.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Fetch weights that others publish, check them and bring them in; a broken download goes on where it ended."""
    from crossgeo.models.registry import find_remote, pull

    told = {"origin": origin.value if origin else "", "view": view.value if view else "", "sha256": sha256, "licence": licence}
    remote = find_remote(what, name=out or "", **told)
    with console.Stages() as stages:
        done = pull(remote, remote.name, lambda have, total: stages("fetching", have, total), offline=offline, overwrite=overwrite)
    if done.was_here:
        console.say(f"{done.name} is here already, {done.path}; replace it with --overwrite")
    else:
        _say_brought_in(done.name, done.path, done.card)


def _probed(found: Published, probe: Path, layout: str | None, told: AerialView | None) -> tuple[AerialView, dict[str, Any]]:
    """Return the view that a few pairs speak for, with what they said."""
    from crossgeo.training.datasets.layouts import read
    from crossgeo.training.evaluation.probe import decide, probe_views
    from crossgeo.training.pairs import PairSet

    pairs = read(probe, layout)
    if not isinstance(pairs, PairSet):
        raise InputError(f"{probe}: {pairs.name} is a set of clicked objects; give one of panoramas and aerial pictures, as CVUSA or CVACT")
    with console.Stages() as stages:
        done = probe_views(found.read_as, pairs, stages)
    view = decide(done, told)
    console.say(f"{done.says()}: {view}")
    return view, done.to_json()


def _copy(file: Path, name: str, out: Path) -> None:
    """Take weights that have a card."""
    from crossgeo.models.checkpoint import read_card
    from crossgeo.models.registry import adopt

    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        read_card(file)
    except WeightsError as error:
        raise WeightsError(f"{error}; give --from for weights of another program") from error
    adopt(file, name, out)


def _say_brought_in(name: str, path: Path, card: dict[str, Any]) -> None:
    from crossgeo.models.published.importing import NOT_TOLD, use_of

    view = " of the polar view" if isinstance(card["view"], dict) and card["view"].get("polar") else ""
    says = f"{card['kind']}{view}, {str(card['digest'])[:12]}, licence: {card.get('licence', NOT_TOLD)}"
    console.say(f"{path}: {says}; {use_of(card).format(name=name)}")


def _is_here(name: str) -> bool:
    from crossgeo.models.library import imported_weights, shipped_weights

    return name in shipped_weights() or name in imported_weights()


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_words(inner) for inner in value)
    return str(value)
