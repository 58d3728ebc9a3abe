"""Drives of a simulated town whose rivals are made wrong on purpose: the path finds the right ones and invents none."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossgeo.engine.sequences import SequenceOptions, smooth
from crossgeo.errors import UsageError
from crossgeo.geodesy import distance_m
from crossgeo.town.layout import make_town
from crossgeo.town.street_poses import dense_street_poses

Record = dict[str, Any]
Make = Callable[..., Record]


@pytest.fixture(scope="module")
def drive() -> list[tuple[float, float, float]]:
    """Lat, lon and true heading of what a car passes every 5 m of the longest stretch of a town's corner."""
    town = make_town(9046, 300.0)
    stretch = max(dense_street_poses(town, 120, np.random.default_rng(2), rim_m=5.0), key=len)
    assert len(stretch) >= 20
    return [(*town.to_lat_lon(pose.x, pose.y), town.true_heading_deg(pose.x, pose.y, pose.heading_deg)) for pose in stretch[:24]]


def spoiled(drive: list[tuple[float, float, float]], place: Make, record: Make, seed: int = 3) -> tuple[list[Record], list[str]]:
    """Answers with the truth first, behind wrong rivals, or missing; and which of these each is."""
    rng = np.random.default_rng(seed)
    records, kinds = [], []
    for k, (lat, lon, heading) in enumerate(drive):
        kind = str(rng.choice(["right", "behind", "missing"], p=[0.5, 0.3, 0.2])) if k > 2 else "right"
        wrong = [place(lat + a, lon + b, 0.5 - 0.01 * n, h) for n, (a, b, h) in enumerate(rng.uniform(0.002, 0.02, (4, 3)) * (1, 1, 9000))]
        true = place(lat + rng.normal(0.0, 1e-5), lon + rng.normal(0.0, 1e-5), {"right": 0.6, "behind": 0.487}.get(kind, 0.0), heading)
        places = sorted([*wrong, *([] if kind == "missing" else [true])], key=lambda p: -p["score"])
        status = "located" if kind == "right" and k % 3 == 0 else "ambiguous"
        records.append(record(f"{k:03d}.jpg", places, status, group="a", taken=f"2026-05-01T12:00:{k * 0.5:09.6f}"))
        kinds.append(kind)
    assert {"behind", "missing"} <= set(kinds)
    return records, kinds


def error_m(record: Record, truth: tuple[float, float, float]) -> float:
    return distance_m(record["places"][0]["lat"], record["places"][0]["lon"], truth[0], truth[1])


def test_photos_take_the_place_on_the_drives_way(drive: Any, place: Make, record: Make) -> None:
    records, kinds = spoiled(drive, place, record)
    before = copy.deepcopy(records)
    out = smooth(records)
    assert records == before, "what it is given is not changed"
    for old, new, kind, truth in zip(records, out, kinds, drive, strict=True):
        told = new["sequence"]
        assert told["group"] == "a"
        if kind == "missing":
            assert (told["rank"], told["changed"]) == (None, False)
            assert {key: value for key, value in new.items() if key != "sequence"} == old
            continue
        assert error_m(new, truth) < 6.0
        assert told["probability"] > 0.5
        assert told["changed"] == (new["places"] != old["places"] or new["status"] != old["status"])
        assert sorted(map(json.dumps, new["places"])) == sorted(map(json.dumps, old["places"])), "no place is invented or lost"
        if kind == "behind":
            assert told["rank"] > 1
            assert new["notes"][0].startswith(f"its drive leads past its place number {told['rank']}")
    moved = [new for new, kind in zip(out, kinds, strict=True) if kind == "behind"]
    assert sum(new["status"] == "located" for new in moved) >= len(moved) // 2


def test_where_no_path_fits_answers_stay_as_they_were(drive: Any, place: Make, record: Make) -> None:
    rng = np.random.default_rng(5)
    records = [
        record(f"{k}.jpg", [place(lat + a, lon + b, 0.6 - 0.05 * n) for n, (a, b) in enumerate(rng.uniform(-0.2, 0.2, (5, 2)))])
        for k, (lat, lon, _) in enumerate(drive)
    ]
    for old, new in zip(records, smooth(records), strict=True):
        assert {key: value for key, value in new.items() if key != "sequence"} == old
        assert new["sequence"]["rank"] is None


def test_a_believed_place_far_off_the_way_is_doubted_and_not_moved(drive: Any, place: Make, record: Make) -> None:
    records = [record(f"{k}.jpg", [place(lat, lon, 0.6, turn)]) for k, (lat, lon, turn) in enumerate(drive)]
    lat, lon, turn = drive[10]
    records[10] = record("10.jpg", [place(lat + 0.01, lon, 0.6, turn)])
    new = smooth(records)[10]
    assert (new["status"], new["places"], new["sequence"]["rank"]) == ("low_confidence", records[10]["places"], None)
    assert "does not fit the way of its drive" in new["notes"][0]


def test_nothing_is_made_sure_without_photos_that_are_sure_by_themselves(drive: Any, place: Make, record: Make) -> None:
    records = [record(f"{k}.jpg", [place(lat, lon, 0.6, turn)], "low_confidence") for k, (lat, lon, turn) in enumerate(drive)]
    assert {row["status"] for row in smooth(records)} == {"low_confidence"}
    records[3]["status"] = records[15]["status"] = "located"
    assert sum(row["status"] == "located" for row in smooth(records)) > len(drive) - 4


@pytest.mark.parametrize("rank", [1, 2])
def test_an_answer_without_some_area_is_never_made_sure(drive: Any, place: Make, record: Make, rank: int) -> None:
    """Of a service whose shards did not all answer: what was not looked at may hold the place."""
    records = [record(f"{k}.jpg", [place(lat, lon, 0.6, turn)]) for k, (lat, lon, turn) in enumerate(drive)]
    lat, lon, turn = drive[7]
    places = [place(lat, lon, 0.5, turn), place(lat + 0.01, lon, 0.46 + 0.03 * rank, turn)]
    records[7] = record("7.jpg", sorted(places, key=lambda at: -at["score"]), "low_confidence")
    assert smooth(records)[7]["status"] == "located", "as it is of a whole answer"
    records[7]["partial"] = [[20.0, 10.0, 20.1, 10.1]]
    new = smooth(records)[7]
    assert (new["status"], new["partial"], new["sequence"]["rank"]) == ("low_confidence", records[7]["partial"], rank)
    records[7] |= {"status": "outside_coverage", "places": []}
    assert smooth(records)[7]["status"] == "outside_coverage"


def test_the_speed_limit_is_kept_and_gaps_are_bridged(drive: Any, place: Make, record: Make) -> None:
    """Two places that are right in all but the way: a car cannot be at the second in a second."""
    lat, lon, _ = drive[0]
    far = 0.002  # 220 m
    rows = [record(f"{k}.jpg", [place(lat + (far if k >= 4 else 0.0), lon)], taken=f"2026-05-01T12:00:0{k}") for k in range(8)]
    slow = smooth(rows, SequenceOptions(max_speed_m_s=20.0))
    assert [row["sequence"]["photos"] for row in slow] == [4] * 8, "two chains, and none across"
    fast = smooth(rows, SequenceOptions(max_speed_m_s=150.0))
    assert [row["sequence"]["photos"] for row in fast] == [8] * 8
    gap = [*rows[:2], {"photo": "x.jpg", "error": {"type": "InputError", "message": "x.jpg: cut short"}}, *rows[2:4]]
    bridged = smooth(gap)
    assert bridged[2] == gap[2]
    assert [row["sequence"]["photos"] for k, row in enumerate(bridged) if k != 2] == [4] * 4


def test_groups_are_drives_of_their_own_and_time_orders_them(drive: Any, place: Make, record: Make) -> None:
    records, _ = spoiled(drive, place, record)
    plain = {row["photo"]: row for row in smooth(records)}
    others = [{**row, "photo": f"b-{row['photo']}", "group": "b"} for row in records]
    mixed = [row for pair in zip(records, others, strict=True) for row in pair]
    rng = np.random.default_rng(1)
    out = smooth([mixed[k] for k in rng.permutation(len(mixed)).tolist()])
    assert {row["photo"]: row for row in out if row["group"] == "a"} == plain


def test_an_object_looked_for_elsewhere_is_left_out_and_its_ray_kept(drive: Any, place: Make, record: Make) -> None:
    records, kinds = spoiled(drive, place, record)
    k = kinds.index("behind")
    records[k]["object"] = {"lat": 1.0, "lon": 1.0, "polygon": {}, "confidence": 0.9, "bearing_deg": 100.0}
    new = smooth(records)[k]
    rank = new["sequence"]["rank"]
    assert new["object"] is None
    assert "object" in new["notes"][-1]
    turned = records[k]["places"][rank - 1]["heading_deg"] - records[k]["places"][0]["heading_deg"]
    assert new["sequence"]["bearing_deg"] == pytest.approx((100.0 + turned) % 360.0, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.floats(-180, 180), st.sampled_from([-1.0, 1.0]))
def test_wherever_on_earth_a_drive_lies_it_is_smoothed_alike(shift: float, side: float) -> None:
    def made(lon: float, sign: float) -> list[Record]:
        rows = []
        for k in range(6):
            at = [(0.0, 0.5), (0.01, 0.55)] if k == 3 else [(0.0, 0.6), (0.02, 0.5)]
            places = []
            for off, score in sorted(at, key=lambda pair: -pair[1]):
                here = {"lat": sign * (10.0 + off + k * 5e-5), "lon": (lon + 180.0) % 360.0 - 180.0}
                places.append({**here, "radius_m": 2.5, "heading_deg": 0.0, "camera": here, "score": score})
            rows.append({"photo": f"{k}", "status": "located", "places": places, "object": None, "notes": []})
        return rows

    plain, moved = smooth(made(20.0, 1.0)), smooth(made(20.0 + shift, side))
    assert [row["sequence"] for row in plain] == [row["sequence"] for row in moved]
    assert plain[3]["sequence"]["rank"] == 2


def test_times_that_are_not_all_known_or_do_not_compare_leave_the_order(place: Make, record: Make) -> None:
    times = ["2026-05-01T12:00:05", None, "2026-05-01T12:00:01+02:00", "not a time"]
    rows = [record(f"{k}.jpg", [place(10.0 + k * 1e-4, 20.0)], taken=taken) for k, taken in enumerate(times)]
    assert [row["sequence"]["photos"] for row in smooth(rows)] == [4] * 4


def test_nonsense_is_refused() -> None:
    for options in ({"max_speed_m_s": 0.0}, {"max_step_m": float("nan")}):
        with pytest.raises(UsageError, match="must be positive"):
            SequenceOptions(**options)
    assert smooth([]) == []
