"""engine/runtime/ahead.py: engines that are built without a card are checked on the one that first uses them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crossgeo.engine.runtime import Array
from crossgeo.engine.runtime.ahead import build_ahead, choose_ahead
from crossgeo.engine.runtime.batched import Call, UnreadableError
from crossgeo.engine.runtime.choose import RuntimeOptions, runtimes
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.engine.runtime.store import EngineStore, Record
from crossgeo.engine.runtime.tensorrt import Flavour
from crossgeo.errors import EngineError

Halves = Callable[[], dict[str, Half]]


class Cards:
    """TensorRT-RTX where there is no card at first: its engines are files that say what they were built with."""

    def __init__(self, halves: Halves, patch: pytest.MonkeyPatch) -> None:
        self.halves, self.patch, self.built, self.refuses, self.error = halves, patch, 0, "", 0.0
        patch.setattr("torch.cuda.is_available", lambda: False)
        patch.setattr(Flavour, "absent", lambda flavour: None)
        patch.setattr("crossgeo.engine.runtime.tensorrt.installed", lambda package: "1.7")
        patch.setattr(Flavour, "build", lambda flavour, *given: self.build(*given))
        patch.setattr(Flavour, "load", lambda flavour, *given: self.load(*given))

    def build(self, half: Half, folder: Path, *others: object) -> None:
        """Write one."""
        self.built += 1
        (folder / "engine.plan").write_text(f"{self.built}")

    def load(self, folder: Path, half: Half, precision: str, device: str) -> Call:
        """Run torch, some way off."""
        if (folder / "engine.plan").read_text() == self.refuses:
            raise UnreadableError("a half: not of this card")

        def call(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
            import torch

            with torch.inference_mode():
                found = half.module(*(torch.from_numpy(rows) for rows in inputs))
            return tuple(np.asarray(rows.numpy() + self.error, np.float32) for rows in found)

        return call

    def plug_in(self) -> None:
        """Have a card from now on."""
        self.patch.setattr(Flavour, "missing", lambda flavour, device: None)
        self.patch.setattr(Flavour, "precisions", lambda flavour, device: ("fp16", "fp32"))
        self.patch.setattr("crossgeo.engine.runtime.choose.device_label", lambda device: "NVIDIA RTX 4090, 8.9")


@pytest.fixture
def cards(halves: Halves, monkeypatch: pytest.MonkeyPatch) -> Cards:
    return Cards(halves, monkeypatch)


def ready(cards: Cards, options: RuntimeOptions, pictures: Pixels) -> Record:
    """Build an engine without a card, and get one."""
    chosen = choose_ahead(options)
    assert chosen is not None and (chosen.backend, chosen.precision) == ("tensorrt-rtx", "fp16")
    record = build_ahead(cards.halves()["plain"], chosen, options, lambda: pictures)
    assert record.key.device == "any card" and record.figures == {} and cards.built == 1
    assert build_ahead(cards.halves()["plain"], chosen, options, lambda: pictures) == record
    cards.plug_in()
    return record


def of_card(folder: Path) -> Record:
    (found,) = [one for _, one in EngineStore(folder).records() if isinstance(one, Record) and one.key.device != "any card"]
    return found


def test_an_engine_built_without_a_card_is_checked_on_the_first_that_uses_it(cards: Cards, pictures: Pixels, folder: Path) -> None:
    said: list[str] = []
    options = RuntimeOptions(runtime="tensorrt-rtx", folder=folder, say=said.append)
    files = ready(cards, options, pictures).files
    said.clear()
    for _ in range(2):
        runtimes([cards.halves()["plain"]], options, lambda: pictures)
    assert cards.built == 1 and len(said) == 1 and "checking the engine for tensorrt-rtx fp16 that was built without a card" in said[0]
    checked = of_card(folder)
    assert checked.files == files and checked.figures["descriptors_cosine_least"] > 0.999 and checked.ground == "imagery"


def test_one_that_answers_otherwise_on_the_card_is_refused(cards: Cards, pictures: Pixels, folder: Path) -> None:
    options = RuntimeOptions(runtime="tensorrt-rtx", folder=folder)
    ready(cards, options, pictures)
    cards.error = 1.0
    with pytest.raises(EngineError, match="refused: descriptors have a cosine of"):
        runtimes([cards.halves()["plain"]], options, lambda: pictures)
    assert of_card(folder).refused


def test_one_that_the_card_cannot_load_is_built_for_it(cards: Cards, pictures: Pixels, folder: Path) -> None:
    said: list[str] = []
    options = RuntimeOptions(runtime="tensorrt-rtx", folder=folder, say=said.append)
    ready(cards, options, pictures)
    cards.refuses = "1"
    said.clear()
    runtimes([cards.halves()["plain"]], options, lambda: pictures)
    assert cards.built == 2 and said[0] == "a half: not of this card; it is built for this card" and "building an engine" in said[1]


def test_a_card_that_is_here_and_other_runtimes_are_not_built_for_ahead(cards: Cards, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_ahead(RuntimeOptions(runtime="tensorrt")) is None and choose_ahead(RuntimeOptions()) is None
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert choose_ahead(RuntimeOptions(runtime="tensorrt-rtx")) is None
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(Flavour, "absent", lambda flavour: "it cannot be loaded")
    with pytest.raises(EngineError, match="--runtime tensorrt-rtx: it cannot be loaded"):
        choose_ahead(RuntimeOptions(runtime="tensorrt-rtx"))
