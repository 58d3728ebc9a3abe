"""benchmarks/gpu.sh: runs every part on the card, outlives one that fails, says so at its end, and brings results back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
STAND_IN = """#!/bin/bash
[ "$1" = - ] || echo "$*" | sed "s#$TMPDIR/[^/ ]*#WORK#g" >> "$CALLS"
case "$1" in
  $FAILS) exit ${CODE:-3} ;;
  engines.py) echo '{}' > results/engines-gpu.json ;;
esac
"""


def _run(folder: Path, *parts: str, fails: str = "none", code: str = "3") -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a copy of the script over a stand-in for Python, and return what came of it, and the calls."""
    bench = folder / "benchmarks"
    (bench / "results").mkdir(parents=True)
    (folder / "out").mkdir()
    (folder / "tmp").mkdir()
    (bench / "results" / "old.json").write_text("{}")
    os.utime(bench / "results" / "old.json", (1, 1))
    (bench / "gpu.sh").write_text((BENCHMARKS / "gpu.sh").read_text())
    python, calls = folder / "python", folder / "calls"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    told = {
        "PYTHON": str(python),
        "CALLS": str(calls),
        "FAILS": fails,
        "CODE": code,
        "OUT": str(folder / "out"),
        "TMPDIR": str(folder / "tmp"),
        "MINUTES": "9",
    }
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(folder / "tmp"), **told}
    done = subprocess.run(["bash", bench / "gpu.sh", *parts], env=environment, capture_output=True, text=True, check=False)
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_every_part_runs_on_the_card_within_the_minutes_that_are_left(tmp_path: Path) -> None:
    done, calls = _run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert [call.split()[0] for call in calls] == ["h100.py", "-m", "gpu_kernels.py", "engines.py", "-c", "build.py", "query.py"]
    for call in calls:
        name = call.split()[0]
        assert name in ("h100.py", "gpu_kernels.py", "-m", "-c") or "--device cuda" in call, call  # those two have it by themselves
        assert name not in ("h100.py", "gpu_kernels.py", "engines.py") or int(call.split("--minutes ")[1]) in (7, 8), call
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["engines-gpu.json"]  # what this run wrote
    assert not list((tmp_path / "tmp").iterdir())


def test_a_part_that_fails_keeps_no_other_from_running_and_is_named(tmp_path: Path) -> None:
    done, calls = _run(tmp_path, "h100", "engines", fails="h100.py")
    assert done.returncode == 1 and done.stderr == "gpu.sh: failed or cut off: h100\n"
    assert len(calls) == 2 and (tmp_path / "out" / "engines-gpu.json").exists()


def test_a_part_that_lost_the_card_goes_on_in_another_process_a_few_times(tmp_path: Path) -> None:
    done, calls = _run(tmp_path, "kernels", "engines", fails="gpu_kernels.py", code="75")
    assert done.stderr == "gpu.sh: failed or cut off: kernels\n"
    assert [call.split()[0] for call in calls] == 4 * ["gpu_kernels.py"] + ["engines.py"]


def test_a_part_that_there_is_not_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    done, calls = _run(tmp_path, "kernel")
    assert done.returncode == 2 and "no part is called kernel; there are h100, tests" in done.stderr and not calls


def test_nothing_runs_where_there_is_no_gpu(tmp_path: Path) -> None:
    done, calls = _run(tmp_path, fails="-")
    assert done.returncode == 2 and not calls and not done.stdout
    real = subprocess.run(
        ["bash", BENCHMARKS / "gpu.sh"],
        env={**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert real.returncode == 2 and "finds no GPU here, and all parts need one; see: geo doctor" in real.stderr and not real.stdout
