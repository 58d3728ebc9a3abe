"""`geo` itself: version, help, doctor, a reader that leaves."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

import crossgeo


def test_version(geo: Any) -> None:
    assert geo("--version").stdout == f"geo {crossgeo.__version__}\n"


def test_help_lists_the_commands_in_the_order_people_meet_them(geo: Any) -> None:
    text = geo("--help").stdout
    places = [text.index(f" {name} ") for name in ("query", "batch", "index", "town", "demo", "doctor", "weights")]
    assert places == sorted(places)


@pytest.mark.parametrize("arguments", [["query"], ["nonsense"], ["index", "build", "--tile-m", "wide"], ["--nonsense"]])
def test_arguments_that_do_not_fit_end_with_2(geo: Any, arguments: list[str]) -> None:
    done = geo(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""


def test_doctor_names_versions_and_threads(geo: Any) -> None:
    found = json.loads(geo("doctor", "--json").stdout)
    assert found["crossgeo"] == crossgeo.__version__
    assert all(found["libraries"].values()), "a library that we depend on is missing"
    assert found["torch_threads"] >= 1
    shown = geo("doctor")
    assert shown.exit_code == 0
    assert found["libraries"]["torch"] in shown.stdout


def test_a_reader_that_leaves_ends_it_quietly(city: Any) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", "from crossgeo.cli import main; main()", "index", "info", str(city.index)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_debug_prints_the_traceback_with_the_line(geo: Any) -> None:
    done = geo("--debug", "query", "x.jpg", "--index", "a.geo", "--point", "1")
    assert done.exit_code == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("geo: --point")
