"""A server that speaks S3, for tests of storage: moto's, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

KEYS = {"AWS_ACCESS_KEY_ID": "made", "AWS_SECRET_ACCESS_KEY": "up", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def s3_server() -> Iterator[str]:
    """Yield the address of a server that holds one bucket, `shards`, until the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from moto.server import main; import sys; main(sys.argv[1:])", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"127.0.0.1:{port}"
        for _ in range(600):
            assert server.poll() is None
            try:
                with urlopen(Request(f"http://{address}/shards", method="PUT"), timeout=5):
                    break
            except HTTPError:
                raise
            except (URLError, OSError):
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait()


def url_of(address: str, prefix: str = "a/b") -> str:
    """Return what --storage takes for a folder in the bucket."""
    return f"s3://shards/{prefix}?endpoint_override={address}&scheme=http&region=us-east-1&allow_bucket_creation=false"
