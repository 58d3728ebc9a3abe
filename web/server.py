"""The server: uvicorn over the application."""

from __future__ import annotations

import uvicorn

from crossgeo.web.app import make_app
from crossgeo.web.served import Indexes
from crossgeo.web.settings import Settings


def run(indexes: Indexes, settings: Settings, host: str, port: int) -> None:
    """Serve until the process is told to end."""
    uvicorn.Server(uvicorn.Config(make_app(indexes, settings), host=host, port=port, log_level="warning", server_header=False)).run()
