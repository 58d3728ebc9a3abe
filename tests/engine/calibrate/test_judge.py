"""What a calibration does to answers, and what it does not; whose answers it judges; damaged ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from crossgeo.engine.calibrate import Calibration, KindCalibration, Seen, fit_kind
from crossgeo.engine.calibrate.calibration import settings_digest
from crossgeo.engine.calibrate.judge import Judge
from crossgeo.engine.evidence import Evidence
from crossgeo.engine.explain.why import why_calibrated
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.search_settings import SearchSettings
from crossgeo.engine.status import Sure
from crossgeo.errors import InputError, MismatchError, StoreError, UsageError
from crossgeo.indexer.calibrated import set_calibration
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.verify import verify_index

REACH_M = 600.0
MODEL = {"name": "colours", "sha256": "0" * 64, "view": "view"}


@pytest.fixture(scope="module")
def calibration() -> Iterator[Callable[..., Calibration]]:
    fitted: dict[int, Any] = {}

    def make(seen: Seen, sure: Sure | None = None, **changes: Any) -> Calibration:
        if id(seen) not in fitted:
            fitted[id(seen)] = fit_kind(seen, REACH_M)
        one = fitted[id(seen)]
        kind = KindCalibration(MODEL, settings_digest(SearchSettings(), "drone"), one.chances, one.level, REACH_M, len(seen), 40)
        return Calibration(sure or Sure(), {"drone": replace(kind, **changes)})

    yield make


@pytest.fixture(scope="module")
def seen(draw: Callable[[int, int], Seen]) -> Seen:
    return draw(300, 11)


def test_plain_data_come_back_as_the_same_calibration(calibration: Any, seen: Seen, make_evidence: Callable[..., Evidence]) -> None:
    one = calibration(seen)
    again = Calibration.from_json(json.loads(json.dumps(one.to_json())))
    assert again.to_json() == one.to_json()
    for score in (0.3, 0.6, 0.9):
        told = [made.kinds["drone"].judge(make_evidence(score), made.sure) for made in (one, again)]
        assert told[0] == told[1]
        assert list(told[0].within.values()) == sorted(told[0].within.values())


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 1}, {"version": 3}, {"kinds": {}},
        {"kinds": {"boat": {}}}, {"thresholds": {"located": 2.0, "within_m": 25.0}}, {"thresholds": {}},
        {"kinds": {"drone": {}}},
    ],
)  # fmt: skip
def test_a_damaged_calibration_is_refused_and_said(calibration: Any, seen: Seen, damage: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="calibration"):
        Calibration.from_json({**calibration(seen).to_json(), **damage})


def test_the_status_follows_from_the_probability(calibration: Any, seen: Seen, make_evidence: Callable[..., Evidence]) -> None:
    own = calibration(seen).kinds["drone"]
    surest = own.judge(make_evidence(0.89), Sure()).within[25.0]
    assert own.judge(make_evidence(0.89), Sure(surest - 0.001)).status == "located"
    doubtful = own.judge(make_evidence(0.89), Sure(min(surest + 0.001, 0.9999)))
    assert doubtful.status in ("ambiguous", "low_confidence")
    assert own.judge(make_evidence(0.31), Sure()).status == "low_confidence"
    assert f"{surest:.3f}" in why_calibrated("located", own.judge(make_evidence(0.89), Sure(0.5)))
    with pytest.raises(UsageError):
        Sure(located=1.0)


def test_a_calibration_of_other_weights_or_settings_is_not_used_and_that_is_said(
    calibration: Any, seen: Seen, make_evidence: Callable[..., Evidence]
) -> None:
    data, models = calibration(seen).to_json(), {"drone": MODEL}
    assert Judge.of(data, models, SearchSettings()).judge(make_evidence()) is not None
    others = Judge.of(data, {"drone": {**MODEL, "sha256": "1" * 64}}, SearchSettings())
    settings = SearchSettings()
    changed = Judge.of(data, models, replace(settings, drone=replace(settings.drone, hits=7)))
    for judge, word in ((others, "weights"), (changed, "settings")):
        assert judge.judge(make_evidence()) is None
        assert word in (judge.note("drone") or "")
    assert Judge.of(data, models, SearchSettings()).judge(replace(make_evidence(), kind="street")) is None


def test_answers_keep_their_places_and_gain_chances(
    calibration: Any, seen: Seen, index_path: Path, ground: Any, make_describer: Any, copied: Callable[[Path], Path]
) -> None:
    index = copied(index_path)
    photo = ground.photo(363_150.0, 3_057_450.0, 30.0, 60.0)
    asked: dict[str, Any] = {"kind": "drone", "heading_deg": 30.0, "height_m": 43.0}
    with GeoSearch(GeoIndex.open(index), make_describer()) as search:
        models = search.models
        before = search.query(photo, **asked)
    own = calibration(seen, model=models["drone"])
    done = set_calibration(index, own.to_json())
    assert verify_index(index) == []
    with GeoSearch(GeoIndex.open(index), make_describer()) as search:
        after = search.query(photo, **asked)
        assert search.index.manifest.hash == done.hash
    assert before.evidence == after.evidence
    assert [replace(p, probability=None, radius_m=0.0) for p in after.places] == [replace(p, radius_m=0.0) for p in before.places]
    assert after.evidence is not None
    told = own.kinds["drone"].judge(after.evidence, own.sure)
    assert (after.places[0].probability, after.places[0].radius_m, after.status) == (told.within, told.radius_m, told.status)
    assert all(place.probability is None for place in (*before.places, *after.places[1:]))
    assert after.to_json()["places"][0]["probability"] == {f"{m:g}": round(p, 4) for m, p in told.within.items()}
    with pytest.raises(MismatchError, match="changed while"):
        set_calibration(index, own.to_json(), of_hash="0" * 64)
    assert set_calibration(index, None).calibration is None
    with pytest.raises(InputError, match="nothing to take away"):
        set_calibration(index, None)


def test_a_radius_that_too_few_pairs_allow_none_of_stays_as_it_was(
    calibration: Any, seen: Seen, make_evidence: Callable[..., Evidence]
) -> None:
    told = calibration(seen, level=None).kinds["drone"].judge(make_evidence(), Sure())
    assert told.radius_m is None
    assert asdict(told)["within"] == told.within
