"""Photos read in processes of their own: the same pictures and errors, and nothing that a photo does reaches the caller."""

from __future__ import annotations

import io
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crossgeo.engine.decoder import Decoder
from crossgeo.engine.photo import Photo
from crossgeo.errors import GeoError, InputError, LimitError


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    """One process for all tests that leave it alive."""
    with Decoder() as opened:
        yield opened


def picture(width: int = 64, height: int = 48, kind: str = "PNG", mode: str = "RGB") -> bytes:
    noise = np.random.default_rng(3).integers(0, 255, (height, width, len(mode)), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise, mode).save(stream, kind)
    return stream.getvalue()


def test_a_photo_is_the_one_that_is_read_without_a_process(decoder: Decoder, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825).update({1: "S", 2: (1.0, 30.0, 0.25), 3: "E", 4: (29.0, 0.0, 0.5), 16: "T", 17: 12.345678901})
    file = tmp_path / "turned.jpg"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 60, 3), np.uint8)).save(file, exif=exif)
    for source in (file, file.read_bytes()):
        ours, plain = decoder.read(source, name="a"), Photo.read(source, name="a")
        np.testing.assert_array_equal(ours.pixels, plain.pixels)
        assert (ours.name, ours.width_px, ours.height_px, ours.exif) == (plain.name, plain.width_px, plain.height_px, plain.exif)
        assert ours.exif.lat == pytest.approx(-1.50006944)
    assert decoder.read(str(file)).name == "turned.jpg"


@pytest.mark.parametrize("make", [lambda: b"", lambda: b"no photo", lambda: picture()[:200], picture, lambda: Path("/none/a.png")])
def test_errors_are_those_of_reading_without_a_process(decoder: Decoder, make: Callable[[], bytes | Path]) -> None:
    with pytest.raises(GeoError) as plain:
        Photo.read(make(), max_px=100)
    with pytest.raises(type(plain.value)) as ours:
        decoder.read(make(), max_px=100)
    assert str(ours.value) == str(plain.value)


def test_a_file_name_that_is_no_text_is_read(decoder: Decoder, tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.png"
    path.write_bytes(picture())
    assert decoder.read(path).name == "caf\udce9.png"


def end(child: subprocess.Popen[bytes], ending: int) -> None:
    child.send_signal(ending)
    child.send_signal(signal.SIGCONT)


def test_a_process_that_dies_over_a_photo_is_replaced() -> None:
    with Decoder() as decoder:
        decoder.warm()
        for ending, error, words in ((signal.SIGSEGV, InputError, "crashed"), (signal.SIGKILL, LimitError, "memory")):
            (child,) = decoder._running
            child.send_signal(signal.SIGSTOP)  # so that it has the photo, and no answer, when it ends
            timer = threading.Timer(0.2, end, (child, ending))
            timer.start()
            with pytest.raises(error, match=words):
                decoder.read(picture(), name="poison.png")
            timer.join()
            assert decoder.read(picture()).width_px == 64


def test_a_photo_that_never_ends_is_given_up() -> None:
    with Decoder(timeout_s=1.5) as decoder:
        decoder.warm()
        (child,) = decoder._running
        child.send_signal(signal.SIGSTOP)
        with pytest.raises(LimitError, match=r"slow\.png.*1\.5 s"):
            decoder.read(picture(), name="slow.png")
        assert decoder.read(picture()).width_px == 64


def test_a_photo_that_swells_is_refused_and_the_next_is_read() -> None:
    with Decoder(memory_bytes=60 << 20) as decoder:
        with pytest.raises(LimitError, match="not enough memory"):
            decoder.read(large(), name="large.png")
        assert decoder.read(picture()).width_px == 64


def large() -> bytes:
    """A PNG of 5000 x 5000 px in few bytes, 100 MB when it is decoded."""
    stream = io.BytesIO()
    Image.new("RGB", (5000, 5000)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def test_several_threads_share_a_few_processes_and_get_their_own_photos() -> None:
    sizes = [20 + n for n in range(24)]
    with Decoder(workers=2) as decoder:
        decoder.warm()
        assert len(decoder._running) == 2
        with ThreadPoolExecutor(6) as pool:
            got = list(pool.map(lambda size: decoder.read(picture(size, 10)).width_px, sizes))
        assert len(decoder._running) == 2
    assert got == sizes
    assert not decoder._running


def test_closing_ends_what_is_being_read() -> None:
    decoder = Decoder()
    decoder.warm()
    (child,) = decoder._running
    child.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(decoder.read, picture())
        decoder.close()
        with pytest.raises(LimitError, match="closed"):
            reading.result()
    with pytest.raises(LimitError, match="closed"):
        decoder.read(picture())
