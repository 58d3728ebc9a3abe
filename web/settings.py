"""How the service is set: its limits, each with its unit, and who may ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """What one client, or all together, may take of the service."""

    photo_bytes: int = 64 << 20  # of one upload to /v1/locate
    job_bytes: int = 2 << 30  # of one upload to /v1/jobs
    job_photos: int = 1000
    photo_px: int = 50_000_000
    receiving_bytes: int = 4 << 30  # of all uploads, on disk beyond 1 MiB each
    header_bytes: int = 16 << 10
    header_s: float = 10.0  # from the first byte of a request, or from the connection, to the end of its headers
    body_grace_s: float = 5.0  # a body may take this and its size at the slowest rate
    body_bytes_per_s: float = 16_384.0
    write_s: float = 30.0  # a client that takes nothing of its answer for so long is dropped
    keep_alive_s: float = 5.0
    connections: int = 512
    decoders: int = 2  # processes that decode photos
    decode_s: float = 20.0  # that one photo may take
    pixel_bytes: int = 1 << 30  # of decoded photos that wait
    waiting: int = 64  # questions for each index, beyond those that are being answered
    waiting_of_client: int = 48  # of one key or address, for all indexes
    answer_s: float = 300.0
    rate_per_minute: float = 600.0  # questions of one key or address; 0: no limit
    jobs_waiting: int = 100  # jobs that are not finished
    drain_s: float = 30.0  # for what is being answered when the service is stopped


@dataclass(frozen=True)
class Settings:
    """What `geo serve` was told."""

    jobs: Path  # the folder of jobs
    limits: Limits = field(default_factory=Limits)
    hosts: frozenset[str] = frozenset({"localhost", "127.0.0.1", "[::1]"})  # names, without ports, by which clients may call it
    job_days: float = 7.0  # finished jobs are kept so long
    proxies: tuple[str, ...] = ()  # addresses and networks of proxies that are believed who asks (X-Forwarded-For); others are not
