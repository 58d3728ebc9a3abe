"""Errors become one line and the right exit code."""

import errno

import pytest
import typer
from typer.testing import CliRunner

from crossgeo import errors
from crossgeo.commands.guard import GuardedGroup, explain, report

CODES = {
    "UsageError": 2, "InputError": 3, "StoreError": 4, "PartialError": 5, "WeightsError": 6, "MismatchError": 7, "LimitError": 8,
    "LockedError": 9, "NotLocatedError": 10, "EngineError": 11, "ClusterError": 12,
}  # fmt: skip


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_each_error_that_a_user_can_mend_has_its_own_code(name: str, code: int) -> None:
    assert explain(getattr(errors, name)("a.tif: broken; copy it again")) == ("a.tif: broken; copy it again", code)


def test_no_error_is_without_a_listed_code() -> None:
    assert {cls.__name__ for cls in errors.GeoError.__subclasses__()} == set(CODES)


@pytest.mark.parametrize("full", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_limit_and_names_the_file(full: int) -> None:
    message, code = explain(OSError(full, "full", "city.geo/segments/a"))
    assert code == 8
    assert "city.geo/segments/a" in message
    assert "make room" in message


def test_a_file_that_may_not_be_written_is_the_users_to_mend() -> None:
    message, code = explain(PermissionError(errno.EACCES, "denied", "/etc/answer.json"))
    assert code == 3
    assert "/etc/answer.json" in message
    assert "choose another path" in message


def test_memory_that_ran_out_is_a_limit() -> None:
    assert explain(MemoryError())[1] == 8


def test_ctrl_c_ends_with_130_and_says_that_work_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(KeyboardInterrupt()) == 130
    assert "kept" in capsys.readouterr().err


def test_a_bug_says_so_and_where_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        {}["tile"]
    except KeyError as error:
        assert report(error) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "bug" in said and "test_guard.py" in said and "--debug" in said
    assert "Traceback" not in said


def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    report(errors.InputError("no"), debug=True)
    assert "InputError" in capsys.readouterr().err


def test_a_message_of_many_lines_is_told_in_one(capsys: pytest.CaptureFixture[str]) -> None:
    report(errors.InputError("first\n  second"))
    assert capsys.readouterr().err == "geo: first second\n"


def test_the_group_turns_errors_into_exits_and_leaves_usage_to_typer() -> None:
    app = typer.Typer(cls=GuardedGroup)

    @app.command()
    def fail(kind: str) -> None:
        raise {"input": errors.InputError, "bug": RuntimeError, "stop": KeyboardInterrupt}[kind]("it")

    @app.callback()
    def options(debug: bool = False) -> None:
        pass

    runner = CliRunner()
    assert [runner.invoke(app, ["fail", kind]).exit_code for kind in ("input", "bug", "stop")] == [3, 1, 130]
    assert runner.invoke(app, ["fail"]).exit_code == 2
