"""What speaks against an answer beside its scores: a compass that says otherwise, and areas that nobody looked at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from crossgeo.engine.camera import Camera
from crossgeo.engine.notes import compass_note, missing_note
from crossgeo.engine.sights import true_heading_deg
from crossgeo.engine.trace import Found
from crossgeo.indexer.grid import Bounds

if TYPE_CHECKING:
    from crossgeo.engine.search import GeoSearch

Asked = ParamSpec("Asked")
Told = TypeVar("Told")


def one_question(ask: Callable[Concatenate[GeoSearch, Asked], Told]) -> Callable[Concatenate[GeoSearch, Asked], Told]:
    """Have a method of a search ask its index's rows one question, which is answered in time, if need be without some area."""

    @functools.wraps(ask)
    def asked(search: GeoSearch, /, *given: Asked.args, **named: Asked.kwargs) -> Told:
        with search.index.rows.question():
            return ask(search, *given, **named)

    return asked


def doubted(found: Found, camera: Camera, missing: Sequence[Bounds]) -> tuple[Found, list[str]]:
    """Return what was found as far as it may be believed, and what to say of that; `camera` is as the photo says.

    Against its compass a place is ambiguous at best. Where areas are missing it has low confidence, however well it fits: one of them may
    hold a place that fits better. What a calibration says of its chances holds for a search of all, and goes.
    """
    notes = []
    turned = _against_compass(found, camera)
    if turned is not None:
        notes.append(turned)
        found = replace(found, status="ambiguous") if found.status == "located" else found
    if missing:
        notes.append(missing_note(missing, bool(found.spots)))
        status = found.status if found.status == "outside_coverage" else "low_confidence"
        found = replace(found, status=status, missing=tuple(missing), confidence=None)
    return found, notes


def _against_compass(found: Found, camera: Camera) -> str | None:
    """Return what to say where a photo through a lens was found looking far off from what its EXIF says; None elsewhere.

    All directions are then tried, and among so many a wrong place fits by chance as well as right ones do. Panoramas see more.
    """
    if found.kind != "street" or found.camera.panorama or not found.spots or camera.heading_deg is None:
        return None
    return compass_note(camera.heading_deg, true_heading_deg(found.spots[0]))
