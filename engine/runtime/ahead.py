"""Engines that are built where their card is not: kept unchecked, and held against torch where a card first uses them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from crossgeo import disk
from crossgeo.engine.runtime.backends import Built, backend
from crossgeo.engine.runtime.choose import AUTO, MOST_BATCH, Chosen, RuntimeOptions, key_of
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.engine.runtime.store import ANY_CARD, EngineStore, Record
from crossgeo.engine.runtime.tensorrt import TENSORRT_RTX
from crossgeo.errors import EngineError, UsageError

_NEWEST = (12, 0)  # compute capability of cards that have every precision; `choose` refuses on the card what it lacks


def choose_ahead(options: RuntimeOptions) -> Chosen | None:
    """Return what is built for a card that is not here; None where there is a card, or the runtime needs it to build.

    Raises EngineError where the runtime is not installed, UsageError for a precision that there is not.
    """
    flavour = TENSORRT_RTX
    if options.runtime != flavour.NAME or torch.cuda.is_available():
        return None
    backend(options.runtime, options.compatible)
    if absent := flavour.absent():
        raise EngineError(f"--runtime {options.runtime}: {absent}")
    served = flavour.precisions_of(*_NEWEST)
    precision = served[0] if options.precision == AUTO else options.precision
    if precision not in served:
        raise UsageError(f"--precision {precision}: {flavour.NAME} has {', '.join(served)}")
    return Chosen(flavour.NAME, precision, "asked for, to be used elsewhere")


def build_ahead(half: Half, chosen: Chosen, options: RuntimeOptions, pictures: Callable[[], Pixels]) -> Record:
    """Return the unchecked engine of a half for cards that are not here, built where it is not there; raises as `choose.build` does."""

    def make(folder: Path) -> tuple[dict[str, float], tuple[str, ...]]:
        if options.say is not None:
            options.say(f"{half.title}: building an engine for {chosen.backend} {chosen.precision}, to be checked on the card that uses it")
        seen = pictures()
        with disk.guarded(folder):
            cast(Built, backend(chosen.backend)).build(half, folder, chosen.precision, half.largest(MOST_BATCH), "cuda", seen)
        return {}, ()

    key = replace(key_of(half, chosen, options), device=ANY_CARD)
    return EngineStore(options.folder).make(key, half.title, make, options.say)
