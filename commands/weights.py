"""`geo weights`: the model weights that came with the package, and what their cards say."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crossgeo.commands import console

app = typer.Typer(no_args_is_help=True, help="List and read model weights.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the weights that came with the package."""
    from crossgeo.models.checkpoint import find_weights, read_card, shipped_weights

    found: list[dict[str, Any]] = []
    for name in shipped_weights():
        card = read_card(name)
        size = find_weights(name).stat().st_size
        found.append({"name": name, "kind": card["kind"], "licence": card.get("licence"), "sha256": card["digest"], "bytes": size})
    if json:
        console.print_json(found)
    elif not found:
        console.say("no weights came with this installation; train some with geo train, or name a file")
    else:
        console.print_rows([(w["name"], f"{w['kind']}, {w['bytes'] / 1e6:.1f} MB, {w['sha256'][:12]}, {w['licence']}") for w in found])


@app.command()
def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that `geo weights list` shows, or a file.")], json: Json = False
) -> None:
    """Show the card of weights: what they are, what they were trained on, what they reach, under which licence."""
    from crossgeo.models.checkpoint import load_weights

    card, state = load_weights(name)
    numbers = sum(tensor.numel() for tensor in state.values())
    if json:
        console.print_json({**card, "parameters": numbers})
        return
    console.print_rows([*((key, _words(value)) for key, value in sorted(card.items())), ("parameters", f"{numbers:,}")])


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_words(inner) for inner in value)
    return str(value)
