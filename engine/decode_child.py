"""Read photos in a process that may die of them, for `decoder.Decoder`, which starts it.

    python -m crossgeo.engine.decode_child MEMORY_BYTES CPU_S

takes requests from stdin until that ends and answers each on stdout. A message is four bytes of length (big end first), a JSON object of
that length, and bytes. Request: `name`, `max_px`, `long_px`, and `path`, or `size`, the length of the file that follows. Answer: `photo`
(`width_px`, `height_px`, `shape`, `exif`) and the pixels, or `error` (`type`, `message`). No pickle: who takes over this process can send a
wrong picture, no more.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from PIL import Image

from crossgeo.engine.photo import Photo
from crossgeo.errors import InputError, LimitError


def read_message(stream: IO[bytes]) -> dict[str, Any] | None:
    """Return the next message's JSON object; None at the end of the stream, and where it ends within one."""
    size = stream.read(4)
    if len(size) < 4:
        return None
    text = stream.read(int.from_bytes(size, "big"))
    if len(text) < int.from_bytes(size, "big"):
        return None
    message: dict[str, Any] = json.loads(text)
    return message


def write_message(stream: IO[bytes], message: dict[str, Any], data: bytes | memoryview = b"") -> None:
    """Write a message's JSON object and the bytes that go with it."""
    text = json.dumps(message).encode()
    stream.write(len(text).to_bytes(4, "big") + text)
    stream.write(data)
    stream.flush()


def limit_memory(memory_bytes: int) -> None:
    """Allow this process so much more memory than it has now, where the system can tell and hold it to that."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + memory_bytes
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    except (OSError, ValueError):
        return


def limit_time(cpu_s: int) -> None:
    """Allow this process so many more seconds of a processor; past them the system ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = int(used.ru_utime + used.ru_stime) + 1 + cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main() -> None:
    """Answer until stdin ends."""
    memory_bytes, cpu_s = int(sys.argv[1]), int(sys.argv[2])
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    Image.init()  # every reader is loaded while there is memory for it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_memory(memory_bytes)
    while (asked := read_message(requests)) is not None:
        limit_time(cpu_s)
        try:
            data = requests.read(asked["size"]) if "size" in asked else None
            photo = Photo.read(asked["path"] if data is None else data, asked["max_px"], asked["name"], asked["long_px"])
        except (InputError, LimitError) as error:
            write_message(answers, {"error": {"type": type(error).__name__, "message": str(error)}})
            continue
        about = {"width_px": photo.width_px, "height_px": photo.height_px, "shape": photo.pixels.shape, "exif": asdict(photo.exif)}
        write_message(answers, {"photo": {"name": photo.name, **about}}, photo.pixels.data)
        del photo, data


if __name__ == "__main__":
    main()
