"""Lists of photos: what each kind says, and what is wrong in one, with its line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossgeo.engine.batch import BatchItem
from crossgeo.engine.batch.lists import read_list
from crossgeo.engine.batch.rows import item_of_line
from crossgeo.errors import GeoError, InputError, UsageError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_a_csv_says_of_each_photo_what_is_known(tmp_path: Path) -> None:
    path = write(
        tmp_path / "list.csv",
        "photo,x,y,heading,fov,height_m,tilt,kind,lat,lon,radius_m,id,group,taken\n"
        "a/1.jpg,10,20.5,90,70,60,5,drone,27.5,85.25,100,7,north,2024-05-01T10:00:00+02:00\n"
        "2.jpg,,,,,,,,,,,,,\n",
    )
    first, second = read_list(path)
    assert first == BatchItem(
        tmp_path / "a/1.jpg", "a/1.jpg", ((10.0, 20.5),), 90.0, 70.0, 60.0, 5.0, "drone", (27.5, 85.25), 100.0, "7", "north",
        "2024-05-01T10:00:00+02:00",
    )  # fmt: skip
    assert second == BatchItem(tmp_path / "2.jpg", "2.jpg")


@pytest.mark.parametrize(
    ("header", "row", "points"),
    [
        ("photo;points", 'a.jpg;"10,20 30,40"', ((10.0, 20.0), (30.0, 40.0))),
        ("photo\tpoints", "a.jpg\t[[1, 2], [3.5, 4]]", ((1.0, 2.0), (3.5, 4.0))),
        ("file,point", 'a.jpg,"7,8"', ((7.0, 8.0),)),
        ("\ufeffPhoto , point_x, point_y", "a.jpg, 7 ,8", ((7.0, 8.0),)),
    ],
)
def test_points_are_written_in_any_of_these_ways(tmp_path: Path, header: str, row: str, points: tuple[tuple[float, float], ...]) -> None:
    (item,) = read_list(write(tmp_path / "list.csv", f"{header}\r\n{row}\r\n"))
    assert (item.name, item.points, item.fault) == ("a.jpg", points, None)


def test_parquet_and_json_lines_say_the_same(tmp_path: Path) -> None:
    rows = [
        {"photo": "a.jpg", "points": [[1.0, 2.0], [3.0, 4.0]], "height_m": 60.0, "id": 7, "taken": datetime(2024, 5, 1, 10, tzinfo=UTC)},
        {"photo": "b.jpg", "points": None, "height_m": None, "id": None, "taken": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "list.parquet")
    lines = [json.dumps({**row, "taken": row["taken"] and "2024-05-01T10:00:00Z"}) for row in rows]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    first, second = read_list(tmp_path / "list.parquet")
    assert first == BatchItem(
        tmp_path / "a.jpg", "a.jpg", ((1.0, 2.0), (3.0, 4.0)), height_m=60.0, id="7", taken="2024-05-01T10:00:00+00:00"
    )  # fmt: skip
    assert second == BatchItem(tmp_path / "b.jpg", "b.jpg")
    assert read_list(tmp_path / "list.jsonl") == [first, second]


def test_a_list_of_paths_is_one(tmp_path: Path) -> None:
    items = read_list(write(tmp_path / "list.txt", "a b.jpg\n\n/else/where.jpg\n"))
    assert [(item.path, item.name) for item in items] == [
        (tmp_path / "a b.jpg", "a b.jpg"), (Path("/else/where.jpg"), "/else/where.jpg"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"x": "ten", "y": "2"}, r"x is 'ten', not a number"),
        ({"x": "10"}, "give x and y"),
        ({"x": "1", "y": "2", "points": "3,4"}, "give x and y, or point, or points"),
        ({"point": "1,2,3"}, "not a pair"),
        ({"points": "[[1, 2]"}, "not JSON"),
        ({"points": 7}, "not a list"),
        ({"heading": "400"}, "heading must be -360 to 360"),
        ({"heading": "1", "heading_deg": "2"}, "says twice"),
        ({"fov": "inf"}, "not a finite number"),
        ({"height_m": True}, "not a number"),
        ({"kind": "plane"}, "not drone or street"),
        ({"kind": "drone", "fov": 360}, "panorama"),
        ({"lat": "27"}, "one of lat and lon"),
        ({"lat": "97", "lon": "0"}, "97"),
        ({"near": "27,85", "lat": "27", "lon": "85"}, "give one of them"),
        ({"radius_m": "-3"}, "not a distance"),
        ({"taken": "yesterday"}, "not a time"),
        ({"taken": "2024-05-01"}, "not a time"),
        ({"id": [1]}, "not a text"),
        ({"photo": 3}, "photo is 3"),
        ({"photo": "a\0b"}, "not a text"),
        ({"photo": ""}, "no photo is named"),
    ],
)
def test_a_wrong_row_is_an_item_whose_fault_says_where_it_stands(tmp_path: Path, row: dict[str, object], says: str) -> None:
    lines = [json.dumps({"photo": "a.jpg"}), json.dumps({"photo": "b.jpg", "group": "g", **row})]
    good, wrong = read_list(write(tmp_path / "list.jsonl", "\n".join(lines)))
    assert good.fault is None
    assert isinstance(wrong.fault, UsageError)
    assert str(wrong.fault).startswith("list.jsonl, line 2: ")
    with pytest.raises(UsageError, match=says):
        raise wrong.fault
    assert wrong.name == ("list.jsonl, line 2" if "photo" in row else "b.jpg")
    assert wrong.group == "g"


def test_lines_of_a_csv_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", 'photo,heading\n"a\nb.jpg",1\n\nc.jpg,x\nd.jpg,1,2\n')
    items = read_list(path)
    assert [item.fault and str(item.fault).split(":")[0] for item in items] == [None, "list.csv, line 5", "list.csv, line 6"]
    assert "more than there are columns" in str(items[2].fault)


def test_columns_that_mean_nothing_are_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    read_list(write(tmp_path / "list.csv", "photo,colour,X \na.jpg,red,\n"), said.append)
    read_list(write(tmp_path / "list.jsonl", '{"photo": "a.jpg", "size": 3}\n{"photo": "b.jpg", "size": 4}\n'), said.append)
    pq.write_table(pa.table({"photo": ["a.jpg"], "what": [b"\x00"]}), tmp_path / "list.parquet")
    read_list(tmp_path / "list.parquet", said.append)
    assert [line.split("left out: ")[1].split(";")[0] for line in said] == ["colour", "size", "what"]


@pytest.mark.parametrize(
    ("name", "data", "error", "says"),
    [
        ("list.csv", b"name,x\na,1\n", UsageError, "no column of photos among name, x"),
        ("list.csv", b"", UsageError, "no column of photos"),
        ("list.csv", b"photo\n", InputError, "names no photo"),
        ("list.csv", b"photo\n\xff\xfe.jpg\n", InputError, "UTF-8"),
        ("list.csv", b'photo,x\n"a.jpg,1\n', InputError, "quotes"),
        ("list.csv", b"photo,heading\na.jpg,x\nb.jpg,y\n", UsageError, "no row can be used; the first: list.csv, line 2"),
        ("list.jsonl", b'{"photo": \n', UsageError, "is not JSON"),
        ("list.jsonl", b"", InputError, "names no photo"),
        ("list.jsonl", b"[" * 100_000, InputError, "names no photo"),
        ("list.parquet", b"PAR1 no more", InputError, "Parquet"),
        ("none.csv", None, InputError, "no such list"),
        ("none.parquet", None, InputError, "no such list"),
    ],
)
def test_a_list_that_cannot_be_used_says_why(tmp_path: Path, name: str, data: bytes | None, error: type[GeoError], says: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    if data == b"[" * 100_000:  # a line that begins with no brace is a path, however odd
        assert read_list(tmp_path / name)[0].fault is None
        return
    with pytest.raises(error, match=says):
        read_list(tmp_path / name)


def test_without_pyarrow_a_parquet_list_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossgeo.engine.batch.lists.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"crossgeo\[vectors\]"):
        read_list(tmp_path / "list.parquet")


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))
KEYS = st.sampled_from(["photo", "x", "y", "point", "points", "heading", "fov", "kind", "near", "lat", "radius_m", "id", "taken", "else"])


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=5))
def test_whatever_a_line_holds_it_is_an_item_or_an_item_with_a_fault(row: dict[str, object]) -> None:
    item = item_of_line(json.dumps(row).encode(), Path("photos"), "stdin, line 1")
    assert item.fault is None or str(item.fault).startswith("stdin, line 1: ")
    json.dumps([item.key(), item.about, item.name], ensure_ascii=False).encode()
