"""Objects of several photos made one: boxes that overlap with rays that agree, each reported once, wherever on earth and in any order."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossgeo.engine.sequences import merge_objects
from crossgeo.engine.sequences.sightings import Plane
from crossgeo.geodesy import distance_m

Record = dict[str, Any]
LON, LAT = 85.52, 27.635


def seen(
    number: int, camera: tuple[float, float], middle: tuple[float, float], side_m: float = 8.0, off_deg: float = 0.0,
    origin: tuple[float, float] = (LON, LAT), **more: Any,
) -> Record:  # fmt: skip
    """A record of a camera and an object, in metres east and north of an origin."""
    plane = Plane(*origin)
    half = side_m / 2.0
    ring = [plane.back(np.array(middle) + half * np.array(d)).tolist() for d in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    lon, lat = plane.back(np.array(camera)).tolist()
    bearing = float(np.degrees(np.arctan2(middle[0] - camera[0], middle[1] - camera[1])) + off_deg) % 360.0
    at = {"lat": lat, "lon": lon}
    thing = {"polygon": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}, "confidence": 0.8, "bearing_deg": bearing}
    place = {**at, "camera": at, "radius_m": 2.5, "heading_deg": 0.0, "score": 0.6}
    return {"photo": f"{number}.jpg", "status": "located", "places": [place], "object": thing, "notes": [], **more}


def street() -> list[Record]:
    """Two houses, each seen from several places of one street, a box of each a little off."""
    rng = np.random.default_rng(4)
    rows = [seen(k, (8.0 * k, 0.0), tuple(np.array((12.0, 20.0)) + rng.normal(0.0, 0.4, 2))) for k in range(4)]
    return rows + [seen(4 + k, (8.0 * k, 0.0), tuple(np.array((30.0, -18.0)) + rng.normal(0.0, 0.4, 2)), 12.0) for k in range(3)]


def test_each_object_is_reported_once_with_its_photos_and_where_its_rays_meet() -> None:
    found = merge_objects(street())
    assert [thing["photos"] for thing in found] == [[f"{k}.jpg" for k in range(4)], [f"{k}.jpg" for k in range(4, 7)]]
    assert [thing["id"] for thing in found] == ["object-1", "object-2"]
    for thing, middle, side in zip(found, ((12.0, 20.0), (30.0, -18.0)), (8.0, 12.0), strict=True):
        lon, lat = Plane(LON, LAT).back(np.array(middle)).tolist()
        assert distance_m(thing["lat"], thing["lon"], lat, lon) < 0.6
        assert distance_m(thing["rays"]["lat"], thing["rays"]["lon"], lat, lon) < thing["rays"]["radius_m"]
        assert (thing["width_m"], thing["height_m"]) == (pytest.approx(side, abs=0.1), pytest.approx(side, abs=0.1))
        assert 0.0 < thing["radius_m"] < 1.0
        np.testing.assert_array_equal(np.array(thing["rays"]["covariance_m2"]).T, thing["rays"]["covariance_m2"])
        assert thing["rays"]["count"] == len(thing["photos"])


def test_boxes_that_overlap_are_two_objects_where_the_rays_disagree() -> None:
    one = seen(0, (0.0, 0.0), (10.0, 20.0))
    assert len(merge_objects([one, seen(1, (20.0, 0.0), (10.0, 20.0))])) == 1
    assert len(merge_objects([one, seen(1, (20.0, 0.0), (10.0, 20.0), off_deg=40.0)])) == 2
    assert len(merge_objects([one, seen(1, (20.0, 0.0), (10.0, 20.0), off_deg=180.0)])) == 2, "it looks away"


def test_neighbours_do_not_grow_together_along_a_row() -> None:
    row = [seen(k, (4.0 * k, -20.0), (4.0 * k, 0.0)) for k in range(8)]  # each box overlaps the next by a third
    assert len(merge_objects(row)) >= 3


def test_only_what_is_believed_counts_and_a_single_sighting_is_an_object() -> None:
    one = seen(0, (0.0, 0.0), (10.0, 20.0))
    doubtful = seen(1, (20.0, 0.0), (10.0, 20.0), status="ambiguous")
    (thing,) = merge_objects([one, doubtful, {"photo": "x", "error": {"type": "InputError", "message": "x"}}])
    assert (thing["photos"], thing["rays"], thing["radius_m"]) == (["0.jpg"], None, None)
    assert merge_objects([doubtful]) == []


def test_a_ray_without_a_box_joins_the_one_object_that_it_meets() -> None:
    rows = [seen(k, (8.0 * k, 0.0), (12.0, 20.0)) for k in range(2)]
    turned = seen(2, (24.0, 0.0), (12.0, 20.0))
    turned |= {"object": None, "sequence": {"bearing_deg": turned["object"]["bearing_deg"]}}
    (thing,) = merge_objects([*rows, turned])
    assert (thing["photos"], thing["rays"]["count"]) == (["0.jpg", "1.jpg", "2.jpg"], 3)
    behind = [seen(9, (-30.0, 0.0), (6.0, 30.0))]  # a second house on the same ray
    both = merge_objects([*rows, *behind, turned])
    assert all("2.jpg" not in other["photos"] for other in both)


def test_several_points_of_one_photo_are_sightings_each() -> None:
    one, two = seen(0, (0.0, 0.0), (10.0, 20.0)), seen(0, (0.0, 0.0), (-30.0, 20.0))
    many = {**one, "objects": [{"point": [1, 2], "object": one["object"]}, {"point": [3, 4], "object": None},
                               {"point": [5, 6], "object": two["object"]}]}  # fmt: skip
    assert [thing["photos"] for thing in merge_objects([many, seen(1, (20.0, 0.0), (10.0, 20.0))])] == [["0.jpg", "1.jpg"], ["0.jpg"]]


@settings(max_examples=25, deadline=None)
@given(st.floats(-180, 180), st.permutations(range(7)))
def test_neither_the_order_nor_the_longitude_changes_what_is_found(lon: float, order: list[int]) -> None:
    def told(rows: list[Record]) -> set[str]:
        keys = ("width_m", "height_m", "radius_m", "confidence")
        return {json.dumps([sorted(thing["photos"]), [round(thing[key], 1) for key in keys]]) for thing in merge_objects(rows)}

    def at(origin_lon: float) -> list[Record]:
        houses = (((12.0, 20.0), 8.0, range(4)), ((30.0, -18.0), 12.0, range(4, 7)))
        return [seen(k, (8.0 * (k % 4), 0.0), middle, side, origin=(origin_lon, LAT)) for middle, side, numbers in houses for k in numbers]

    assert told([at(lon)[k] for k in order]) == told(at(LON))


def test_many_photos_are_merged() -> None:
    rows = []
    for house in range(400):
        east, north = 40.0 * (house % 50), 60.0 * (house // 50)
        rows += [seen(5 * house + k, (east + 6.0 * k - 12.0, north - 20.0), (east + 0.2 * k, north)) for k in range(5)]
    found = merge_objects(rows)
    assert len(found) == 400
    assert all(len(thing["photos"]) == 5 for thing in found)
