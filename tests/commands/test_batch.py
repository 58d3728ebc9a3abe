"""What `geo batch` looks at before any model is loaded, and what it says on its way."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from inline_cluster import InlineCluster

from crossgeo.commands.batch import Outputs, at_work, by_node, words
from crossgeo.commands.cluster_options import Spreading
from crossgeo.commands.guard import explain
from crossgeo.commands.stopping import stopping
from crossgeo.engine.batch import BatchProgress, Spread
from crossgeo.engine.batch.spread import NodeTally
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import InputError, UsageError


def test_progress_says_how_photos_came_out_and_when_all_are_done() -> None:
    at = BatchProgress(9, 20, 4, 2, 0, 1, 2, 0, 0.5, 22.0)
    assert words(at).startswith("4 located, 2 ambiguous, 1 outside coverage, 2 failed; done at ")
    assert words(BatchProgress(20, 20, 20, eta_s=0.0)) == "20 located, 0 ambiguous, 0 failed"


def test_who_answers_on_a_cluster_is_said_by_workers_and_nodes() -> None:
    cluster = InlineCluster(("10.0.0.5", "10.0.0.6"))
    spread = Spread(cluster, GeoSearch.open, nodes={"10.0.0.6": NodeTally(1, 3.0, 2), "10.0.0.5": NodeTally(40, 50.0)}, workers=6)
    assert at_work(spread) == "6 workers on 2 nodes"
    assert by_node(spread) == [
        "10.0.0.5: 40 photos, 1.25 s of a worker each",
        "10.0.0.6: 1 photo, 3.00 s of a worker each; 2 photos ended the workers that answered",
    ]


def test_a_cluster_that_is_none_and_a_gpu_by_number_are_refused() -> None:
    assert Spreading().open(2, "cpu") is None
    with pytest.raises(UsageError, match="no cluster 'nowhere'"):
        Spreading("nowhere").open(2, "cpu")
    with pytest.raises(UsageError, match="--device cuda:1: each worker is given a GPU of its own"):
        Spreading("local").open(2, "cuda:1")


@pytest.mark.parametrize(
    ("names", "error", "says"),
    [
        (["a.xlsx"], UsageError, "no format is called"), (["old.csv"], UsageError, "exists already"),
        (["none/a.csv"], InputError, "no such folder"),
        (["a.csv", "./a.csv"], UsageError, "its own name"), (["folder"], InputError, "is a folder"),
    ],
)  # fmt: skip
def test_outputs_that_cannot_be_written_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], error: type[Exception], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.csv").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(error, match=says):
        Outputs.of([Path(name) for name in names], overwrite=False, keep_journal=False)


def test_stdout_is_an_output_beside_files_and_keeps_nothing() -> None:
    with pytest.raises(UsageError, match="--keep-journal"):
        Outputs.of([Path("-")], overwrite=False, keep_journal=True)
    alone = Outputs.of([Path("-")], overwrite=False, keep_journal=False)
    assert (alone.files, alone.stdout) == ((), True)
    assert "begins anew" in alone.interrupted(3)
    both = Outputs.of([Path("-"), Path("a.csv")], overwrite=False, keep_journal=False)
    assert (both.files, both.stdout) == ((Path("a.csv"),), True)
    assert explain(KeyboardInterrupt(both.interrupted(3))) == (
        "interrupted; the answers of 3 photos are kept in a.csv.partial.jsonl, and the same command goes on from there", 130,
    )  # fmt: skip


def test_ctrl_c_is_first_asked_and_then_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopping() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(10.0)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is before
    assert "Ctrl-C again" in capsys.readouterr().err


def test_outside_of_the_main_thread_ctrl_c_stays_as_it_is() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def run() -> None:
        with stopping() as stop:
            seen.append((stop.is_set(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
