"""Multipart forms, read within the limits; the files of a form are closed with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from crossgeo.web.problems import Problem

FIELDS = 128
FIELD_BYTES = 1 << 20


@asynccontextmanager
async def received(request: Request, files: int) -> AsyncIterator[FormData]:
    """Read a form of up to so many files; raise Problem where the body is none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Problem("media-type", f"the body is {kind or 'of no media type'}; send multipart/form-data")
    try:
        form = await request.form(max_files=files, max_fields=FIELDS, max_part_size=FIELD_BYTES)
    except HTTPException as error:
        raise Problem("bad-request", f"the form cannot be read: {error.detail}") from error
    try:
        yield form
    finally:
        await form.close()
