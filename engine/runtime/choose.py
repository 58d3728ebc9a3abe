"""Which runtime a half gets: the one asked for by name or an error, and for `auto` the quickest that is there, and why."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch

from crossgeo import disk, processor
from crossgeo.engine.runtime import Runtime
from crossgeo.engine.runtime.backends import COMPATIBLE, IN_PROCESS, Backend, Built, backend
from crossgeo.engine.runtime.batched import Batched, Call, UnreadableError
from crossgeo.engine.runtime.check import check
from crossgeo.engine.runtime.half import MOST_PIXELS, Half, Pixels
from crossgeo.engine.runtime.in_process import Place, run_here
from crossgeo.engine.runtime.merged import Merging
from crossgeo.engine.runtime.store import ANY_CARD, EngineStore, Key, Record, refusal
from crossgeo.engine.runtime.torch import most_pixels
from crossgeo.errors import EngineError, InputError, LimitError, StoreError, UsageError

AUTO = "auto"
USUAL_BATCH = 16  # of a processor, which more rows at once do not make quicker
NO_ENGINE = (EngineError, InputError, LimitError, StoreError)
"""What keeps an engine from being had, and torch from nothing: it is refused, the ground shows too little, its folder cannot be written."""
MOST_BATCH = 256  # of the shapes that an engine is built for, so that every command finds it whatever its own batch


@dataclass(frozen=True)
class RuntimeOptions:
    """How models are to run."""

    runtime: str = AUTO
    precision: str = AUTO
    device: str = "cpu"  # torch's name
    compatible: bool = False  # True: engines are built so that later versions of the back end run them, too
    batch: int = 0  # a power of two; 0: 16 on a processor, 256 on a GPU
    build: bool = False  # True: `auto` builds engines that are not there, where otherwise it takes torch
    folder: Path | None = None  # of the engines, the user's own unless given
    say: Callable[[str], None] | None = None  # gets a line for what a user should know
    ground: str = "imagery"  # what the pictures show that engines are checked on
    merging: Merging | None = None  # passes of several threads are merged by it, in batches as large as it says

    def __post_init__(self) -> None:
        if not self.batch:
            object.__setattr__(self, "batch", MOST_BATCH if self.device.startswith("cuda") else USUAL_BATCH)

    @property
    def rows(self) -> int:
        """How many rows a pass takes, a power of two."""
        return self.batch if self.merging is None else max(self.batch, 1 << (self.merging.max_batch.bit_length() - 1))


@dataclass(frozen=True)
class Chosen:
    """A back end with its precision, and why it was taken."""

    backend: str
    precision: str
    why: str
    compatible: bool = False


def choose(options: RuntimeOptions) -> Chosen:
    """Return what `options` come to on this machine, before it is known which engines there are.

    Raises UsageError for a runtime or a precision that there is not, EngineError for one that cannot run here.
    """
    if options.runtime != AUTO:
        found = backend(options.runtime, options.compatible)
        if (why_not := found.missing(options.device)) is not None:
            raise EngineError(f"--runtime {options.runtime}: {why_not}; or take --runtime auto")
        return Chosen(options.runtime, _precision(found, options), "asked for", options.compatible)
    name, why = _quickest(options.device)
    return Chosen(name, _precision(backend(name, options.compatible), options), why, options.compatible)


def runtimes(halves: Sequence[Half], options: RuntimeOptions, pictures: Callable[[], Pixels] | None = None) -> list[Runtime]:
    """Return a runtime for each half.

    pictures: gives (N, S, S, 3) uint8 RGB of the ground, which engines are checked and calibrated with; needed where one may be built.
    Engines are found or built before any module is touched, since torch casts weights in place. Raises as `choose` and `build` do.
    """
    found = _alone(halves, options, pictures)
    return found if options.merging is None else [options.merging.over(runtime) for runtime in found]


def _alone(halves: Sequence[Half], options: RuntimeOptions, pictures: Callable[[], Pixels] | None) -> list[Runtime]:
    """Return the runtimes, each pass of which runs by itself."""
    chosen = choose(options)
    if chosen.backend in IN_PROCESS:
        return _in_process(halves, chosen, options, pictures)
    builds = options.build or options.runtime != AUTO
    engines: list[Call | None] = []
    said = set[str]()  # what keeps several halves from an engine, such as a folder that cannot be written, is said once
    for half in halves:
        try:
            engines.append(_loaded(half, chosen, options, pictures, builds))
        except NO_ENGINE as error:
            if options.runtime != AUTO:
                raise
            line = f"{error}; going on with torch"
            if line not in said:
                _say(options, line)
            said.add(line)
            engines.append(None)
    without = [half for half, call in zip(halves, engines, strict=True) if call is None]
    if without and not said and options.precision not in (AUTO, instead := _definition(options).precision):
        makes = f"geo engine build --precision {chosen.precision} makes it"
        _say(options, f"no engine of {chosen.backend} {chosen.precision} is built; going on with torch in {instead}; {makes}")
    plain = iter(_in_process(without, _definition(options), options, pictures))
    label = f"{chosen.backend} {chosen.precision} on {options.device}"
    return [next(plain) if call is None else _batched(half, label, options, call) for half, call in zip(halves, engines, strict=True)]


def build(half: Half, chosen: Chosen, options: RuntimeOptions, pictures: Callable[[], Pixels] | None) -> Record:
    """Return the engine of a half, built and checked against torch where it is not there.

    Raises EngineError where it cannot be built or was refused by its check, LimitError for a full disk.
    """
    if (there := _find(half, chosen, options, builds=True)) is not None:
        return there
    made, key, store = _built(chosen), key_of(half, chosen, options), EngineStore(options.folder)

    def make(folder: Path) -> tuple[dict[str, float], tuple[str, ...]]:
        if pictures is None:
            raise EngineError(f"{half.title}: an engine is built with pictures to check it with; run `geo engine build`")
        others = [f"{one.backend} {one.version} on {one.device}" for one in store.others(key)]
        anew = f"; those that are here are of another version or device: {', '.join(others)}" if others else ""
        seen = pictures()
        call = _built_ahead(half, chosen, options, key, folder)
        if call is None:
            _say(options, f"{half.title}: building an engine for {chosen.backend} {chosen.precision}, once{anew}")
            with disk.guarded(folder):
                made.build(half, folder, chosen.precision, half.largest(MOST_BATCH), options.device, seen)
            call = made.load(folder, half, chosen.precision, options.device)
        found = check(half, call, seen, half.largest(options.rows))
        return found.figures, found.problems

    record = store.make(key, half.title, make, options.say, options.ground)
    if record.refused:
        raise refusal(record)
    return record


def _built_ahead(half: Half, chosen: Chosen, options: RuntimeOptions, key: Key, folder: Path) -> Call | None:
    """Take the engine that was built where no card was into a folder, and return a call of it; None where there is none for this card."""
    store = EngineStore(options.folder)
    record = store.find(replace(key, device=ANY_CARD), lambda line: _say_gone(options, line, builds=True))
    if record is None:
        return None
    store.copy_files(record, folder)
    try:
        call = _built(chosen).load(folder, half, chosen.precision, options.device)
    except UnreadableError as error:
        _say(options, f"{error}; it is built for this card")
        return None
    _say(options, f"{half.title}: checking the engine for {chosen.backend} {chosen.precision} that was built without a card, once")
    return call


def key_of(half: Half, chosen: Chosen, options: RuntimeOptions) -> Key:
    """Return what names the engine of a half."""
    return Key(
        half.digest,
        chosen.backend,
        backend(chosen.backend, chosen.compatible).version(),
        chosen.precision,
        half.largest(MOST_BATCH),
        device_label(options.device),
        chosen.compatible,
    )


def device_label(device: str) -> str:
    """Name a device by what engines depend on."""
    if device.startswith("cuda"):
        major, minor = torch.cuda.get_device_capability(device)
        return f"{torch.cuda.get_device_name(device)}, {major}.{minor}"
    features = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in processor.instructions()]
    return " ".join([platform.machine(), *features])


def _quickest(device: str) -> tuple[str, str]:
    if device.startswith("cuda"):
        return "torch", "on a GPU torch runs at once; torch-compile and tensorrt are quicker, and wait to be asked for"
    why_not = backend("openvino").missing(device)
    if why_not is None:
        return "openvino", "the quickest on a processor; torch as long as no engine is built"
    return "torch", why_not


def _precision(found: Backend, options: RuntimeOptions) -> str:
    served = found.precisions(options.device)
    if options.precision == AUTO:
        return served[0]
    if options.precision not in served:
        cards = "; fp8 is TensorRT's, on cards of compute capability 8.9 and newer" if options.precision == "fp8" else ""
        raise UsageError(f"--precision {options.precision}: {found.NAME} on {options.device} has {', '.join(served)}{cards}")
    return options.precision


def _find(half: Half, chosen: Chosen, options: RuntimeOptions, builds: bool) -> Record | None:
    """Return the engine that is there: one of this very version, or one that this version runs, too."""
    store = EngineStore(options.folder)
    ways = [chosen] if chosen.compatible or chosen.backend not in COMPATIBLE else [chosen, replace(chosen, compatible=True)]
    for way in ways:
        record = store.find(key_of(half, way, options), lambda line: _say_gone(options, line, builds))
        if record is not None and not record.refused:
            return record
    return None


def _loaded(half: Half, chosen: Chosen, options: RuntimeOptions, pictures: Callable[[], Pixels] | None, builds: bool) -> Call | None:
    """Return a call of an engine; None where there is none and none is built. One that cannot be read makes room for a new one, once."""
    for last in (False, True):
        record = build(half, chosen, options, pictures) if builds else _find(half, chosen, options, builds)
        if record is None:
            return None
        store = EngineStore(options.folder)
        made = _built(replace(chosen, compatible=record.key.compatible))
        try:
            return made.load(store.path(record.key), half, chosen.precision, options.device)
        except UnreadableError as error:
            if last:
                raise
            store.discard(record)
            _say_gone(options, str(error), builds)
    raise AssertionError("the second turn returns or raises")


def _definition(options: RuntimeOptions) -> Chosen:
    """Return torch, for halves without an engine."""
    served = backend("torch").precisions(options.device)
    return Chosen("torch", options.precision if options.precision in served else served[0], "no engine")


def _batched(half: Half, label: str, options: RuntimeOptions, call: Call, most: int = MOST_PIXELS) -> Batched:
    remedy = "give a smaller --max-batch, " if options.merging is not None else ""
    return Batched(call, label, half.largest(options.rows, most), options.say, remedy)


def _built(chosen: Chosen) -> Built:
    return cast(Built, backend(chosen.backend, chosen.compatible))


def _in_process(halves: Sequence[Half], chosen: Chosen, options: RuntimeOptions, pictures: Callable[[], Pixels] | None) -> list[Runtime]:
    strict = options.runtime != AUTO  # what is asked for by name runs or raises
    room = most_pixels(torch.device(options.device))
    place = Place(
        options.device,
        EngineStore(options.folder),
        lambda half: half.largest(options.rows, room),
        pictures,
        strict,
        lambda line: _say(options, line),
        options.ground,
    )
    here = run_here(halves, [key_of(half, chosen, options) for half in halves], place)
    return [_batched(half, one.label, options, one.call, room) for half, one in zip(halves, here, strict=True)]


def _say_gone(options: RuntimeOptions, line: str, builds: bool) -> None:
    _say(options, f"{line}; it is built again" if builds else f"{line}; it is removed, and geo engine build makes it anew")


def _say(options: RuntimeOptions, line: str) -> None:
    if options.say is not None:
        options.say(line)
