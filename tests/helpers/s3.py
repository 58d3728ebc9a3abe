"""A server that speaks S3, for tests of storage: moto's, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

KEYS = {"AWS_ACCESS_KEY_ID": "made", "AWS_SECRET_ACCESS_KEY": "up", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
_SERVER = """
import contextlib, sys
from urllib.request import Request, urlopen
from moto.server import ThreadedMotoServer
with contextlib.redirect_stdout(sys.stderr):  # it greets
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
address = "{}:{}".format(*server.get_host_and_port())
urlopen(Request(f"http://{address}/shards", method="PUT"), timeout=30).close()
print(address, flush=True)
sys.stdin.read()  # until the test is done, or dead
"""


@contextmanager
def s3_server(start: Callable[..., subprocess.Popen[str]] = subprocess.Popen) -> Iterator[str]:
    """Yield the address of a server that holds one bucket, `shards`, until the end of the block; `start` starts it elsewhere."""
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    with start([sys.executable, "-c", _SERVER], stdin=pipe, stdout=pipe, stderr=nothing, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        assert address, "moto's server ended before it answered"
        yield address
        server.stdin.close()  # and so does the server


def url_of(address: str, prefix: str = "a/b") -> str:
    """Return what --storage takes for a folder in the bucket."""
    return f"s3://shards/{prefix}?endpoint_override={address}&scheme=http&region=us-east-1&allow_bucket_creation=false"
