"""`geo engine`: engines are built, listed, timed and cleared, and questions are answered by them as by torch."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from crossgeo.errors import EngineError


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GEO_RUNTIME", "auto")


def answer_of(done: Any) -> dict[str, Any]:
    assert done.exit_code == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_an_index_and_its_questions_run_on_engines_that_are_built_once(geo: Any, city: Any, tmp_path: Path) -> None:
    listed = geo("engine", "list")
    assert listed.exit_code == 0 and "no engines yet" in listed.stderr
    first = geo("index", "build", city.ortho, "--out", tmp_path / "a.geo", "--stride-m", "30")
    assert first.exit_code == 0, first.stderr
    assert first.stderr.count("building an engine for openvino") == 4  # both branches, both stems
    again = geo("index", "build", city.ortho, "--out", tmp_path / "b.geo", "--stride-m", "30")
    assert again.exit_code == 0 and "building an engine" not in again.stderr
    asked = "query", city.photo, "--index", tmp_path / "a.geo", "--street-weights", "", "--json", "--kind", "drone"
    compiled, plain = answer_of(geo(*asked)), answer_of(geo(*asked, "--runtime", "torch"))
    assert (compiled["status"], plain["status"]) == ("located", "located")
    assert compiled["places"][0]["lat"] == pytest.approx(plain["places"][0]["lat"], abs=1e-5)  # a metre; these weights are sure
    rows = json.loads(geo("engine", "list", "--json").stdout)["engines"]
    assert len(rows) == 4 and all(row["backend"] == "openvino" and row["refused"] == [] for row in rows)
    cosines = [(key, value) for row in rows for key, value in row["figures"].items() if "cosine" in key]
    assert cosines and all(value >= (0.998 if key.startswith("maps") else 0.999) for key, value in cosines)
    assert all(row["checked_on"] == "imagery" and row["figures"]["pictures"] == 24 for row in rows)
    shown = " ".join(geo("engine", "list").stdout.split())
    assert "cosine" in shown and "on 24 pictures of imagery" in shown
    assert "4 built" in geo("doctor").stdout
    assert "0 engines removed" in geo("engine", "clean").stderr
    assert "4 engines removed" in geo("engine", "clean", "--all").stderr
    assert json.loads(geo("engine", "list", "--json").stdout)["engines"] == []


def test_engines_are_timed_beside_torch(geo: Any, city: Any) -> None:
    done = geo("engine", "bench", city.weights[3], "--batch", "2", "--rounds", "2", "--runtime", "onnxruntime", "--json")
    rows = answer_of(done)["rows"]
    assert {row["label"] for row in rows} == {"torch fp32 (as it comes)", "onnxruntime fp32 on cpu"}
    assert all(row["ms"] > 0.0 and row["low_ms"] <= row["ms"] <= row["high_ms"] for row in rows)
    assert [row["ratio"] for row in rows if row["label"].startswith("torch")] == [1.0] * 2


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--runtime", "onnx"), 2, "no such runtime; give auto or one of torch, torch-compile, openvino"),
        (("--runtime", "torch"), 2, "--runtime torch keeps no engines and runs without; for cpu --runtime openvino or onnxruntime can be"),
        (("--runtime", "torch-compile"), 2, "--runtime torch-compile keeps no engines and runs without; for cpu --runtime openvino"),
        (("--runtime", "onnxruntime", "--precision", "int8"), 2, "onnxruntime on cpu has fp32"),
        (("--runtime", "onnxruntime", "--precision", "fp8"), 2, "fp8 is TensorRT's, on cards of compute capability 8.9 and newer"),
        (("--version-compatible",), 2, "--version-compatible: openvino runs engines of its own version alone; tensorrt has it"),
        (("--runtime", "tensorrt"), 11, "runs on NVIDIA's GPUs, not on cpu"),
        (("no-such-weights",), 6, "no weights are called 'no-such-weights'"),
        (("--index", "nowhere.geo"), 3, "nowhere.geo"),
    ],
)
def test_what_cannot_be_built_is_said(geo: Any, args: tuple[str, ...], code: int, words: str) -> None:
    done = geo("engine", "build", *args)
    assert done.exit_code == code
    assert words in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--precision", "int8"), 2, "--precision int8: tensorrt-rtx has fp16, bf16, fp32, fp8"),
        (("--version-compatible",), 2, "tensorrt-rtx runs engines of its own version alone"),
    ],
)
def test_what_cannot_be_built_without_a_card_is_said(
    geo: Any, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], code: int, words: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = geo("engine", "build", "--runtime", "tensorrt-rtx", *args)
    assert done.exit_code == code and words in " ".join(done.stderr.split())


def test_engines_of_tensorrt_rtx_are_built_without_a_card_and_marked_as_unchecked(
    geo: Any, city: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(flavour: object, half: object, folder: Path, *others: object) -> None:
        (folder / "engine.plan").write_bytes(b"kernels")

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("crossgeo.engine.runtime.tensorrt.Flavour.build", build)
    done = geo("engine", "build", city.weights[3], "--runtime", "tensorrt-rtx")
    assert done.exit_code == 0, done.stderr
    assert "to be checked on the card that uses it" in " ".join(done.stderr.split())
    rows = json.loads(geo("engine", "list", "--json").stdout)["engines"]
    assert [(row["device"], row["precision"], row["checked_on"], row["figures"]) for row in rows] == [("any card", "fp16", None, {})] * 2
    assert "unchecked until a card first uses it" in " ".join(geo("engine", "list").stdout.split())


def test_auto_on_a_gpu_has_nothing_to_build_and_says_what_can_be(geo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossgeo.commands.devices.device_of", lambda device: "cuda")
    monkeypatch.setattr("crossgeo.engine.runtime.torch.precisions", lambda device: ("bf16",))
    done = geo("engine", "build")
    words = " ".join(done.stderr.split())
    assert done.exit_code == 2 and "auto takes torch, which keeps no engines and runs without; nothing can be built for cuda here" in words
    assert "openvino: OpenVINO runs on the processor here, not on cuda" in words and "tensorrt-rtx: " in words
    monkeypatch.setattr("crossgeo.engine.runtime.tensorrt.Flavour.missing", lambda self, device: None)
    assert "for cuda --runtime tensorrt or tensorrt-rtx can be built" in " ".join(geo("engine", "build").stderr.split())


def test_what_auto_does_not_time_is_named_with_the_reason(geo: Any, city: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object) -> None:
        raise EngineError("a half: the engine of openvino is refused: it leans away")

    monkeypatch.setattr("crossgeo.engine.runtime.openvino.build", refused)
    monkeypatch.setattr("crossgeo.engine.runtime.timing.NAMES", ("torch", "openvino", "tensorrt"))
    asked = "engine", "bench", city.weights[3], "--batch", "1", "--rounds", "2"
    left_out = {one["runtime"]: one["why"] for one in answer_of(geo(*asked, "--json"))["left_out"]}
    assert left_out["openvino"].endswith("it leans away")
    assert left_out["tensorrt"] == "tensorrt runs on NVIDIA's GPUs, not on cpu"
    assert "openvino is left out: a half: the engine of openvino is refused: it leans away" in " ".join(geo(*asked).stderr.split())


def test_a_batch_that_is_no_power_of_two_is_not_timed(geo: Any, city: Any) -> None:
    done = geo("engine", "bench", city.weights[3], "--batch", "12")
    assert done.exit_code == 2 and "give a power of two" in done.stderr


def test_a_refused_engine_ends_with_the_code_of_a_job_that_failed_in_part(geo: Any, city: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossgeo.engine.runtime.check.LEAST_MAP_COSINE", 1.1)
    done = geo("engine", "build", city.weights[3])
    assert done.exit_code == 5
    assert "1 of 2 engines were refused" in done.stderr and "is asked" in done.stderr
    assert "REFUSED" in geo("engine", "list").stdout
    assert {row["checked_on"] for row in json.loads(geo("engine", "list", "--json").stdout)["engines"]} == {"a simulated town"}
    assert "1 engine removed" in geo("engine", "clean").stderr


def test_doctor_says_which_runtime_is_taken_and_which_cards_each_serves(geo: Any) -> None:
    shown = geo("doctor").stdout
    assert "openvino" in shown and "the quickest on a processor" in shown
    assert "not Hopper (9.0)" in shown and "tensorrt-rtx" in shown
    told = json.loads(geo("doctor", "--json").stdout)["runtime"]
    assert set(told["every"]) == {"torch", "torch-compile", "openvino", "onnxruntime", "tensorrt", "tensorrt-rtx"}
    assert told["every"]["torch"]["runs"] is True
    for name, one in told["every"].items():
        assert one["runs"] == (one["installed"] is not None and one["installed"] in one["here"] and "not run" not in one["here"]), name


def test_doctor_says_why_there_is_no_gpu_and_what_is_installed_all_the_same(geo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossgeo.engine.runtime import tensorrt

    def nowhere(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr(tensorrt, "installed", lambda package: "10.99")
    monkeypatch.setattr(tensorrt.Flavour, "absent", lambda self: None)
    shown = geo("doctor").stdout
    assert "finds no GPU or no driver here); everything runs on the processor" in shown
    assert "10.99 is installed, and does not run here: tensorrt needs a GPU with its driver to run: torch" in shown
    monkeypatch.setattr(tensorrt, "installed", nowhere)
    told = json.loads(geo("doctor", "--json").stdout)
    assert "finds no GPU or no driver" in told["no_gpu"]
    one = told["runtime"]["every"]["tensorrt"]
    assert one["installed"] is None and one["here"] == "not installed: pip install 'crossgeo[tensorrt]'" and "Hopper" in one["serves"]


def test_doctor_counts_engines_that_can_be_used(geo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossgeo.engine.runtime.store import EngineStore, Key

    store = EngineStore(tmp_path)
    monkeypatch.setattr("crossgeo.engine.runtime.store.engines_folder", lambda: tmp_path)

    def made(number: int, problems: tuple[str, ...], files: bool, device: str = "a processor", ground: str = "") -> Path:
        key = Key(str(number), "onnxruntime", "1", "fp32", 256, device)

        def build(folder: Path) -> tuple[dict[str, float], tuple[str, ...]]:
            if files:
                (folder / "model.onnx").write_bytes(b"1")
            return {}, problems

        store.make(key, "a half", build, None, ground)
        return store.path(key)

    made(1, (), True)
    made(2, ("leans away",), True)
    (made(3, (), True) / "model.onnx").write_bytes(b"2")
    made(4, (), False)  # what torch's own check found
    made(5, (), True, ground="imagery")
    made(6, (), True, device="any card")
    told = json.loads(geo("doctor", "--json").stdout)["runtime"]
    assert (told["engines"], told["engines_refused"], told["engines_damaged"]) == (2, 1, 1)
    assert (told["engines_of_imagery"], told["engines_unchecked"]) == (1, 1)
    shown = " ".join(geo("doctor").stdout.split())
    assert "2 built, 1 of them checked on imagery (1 unchecked, 1 refused, 1 damaged; geo engine list says which), in " in shown
