"""From an upload to its answer: decoded, put in the queue of its index, waited for as long as somebody listens."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

from fastapi import Request

from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer
from crossgeo.errors import LimitError
from crossgeo.web.problems import Problem
from crossgeo.web.questions import Question
from crossgeo.web.served import Indexes
from crossgeo.web.settings import Limits


class Asker:
    """Asks the indexes that are served."""

    def __init__(self, indexes: Indexes, limits: Limits) -> None:
        self.indexes, self.limits = indexes, limits

    async def ask(self, request: Request, data: bytes, name: str, question: Question) -> tuple[dict[str, Any], dict[str, float]]:
        """Return the answer's JSON, and what each stage took in milliseconds."""
        served, options, points = self.indexes.named(question.index), question.options(), question.points()
        photo = await asyncio.to_thread(Photo.read, data, self.limits.photo_px, name)
        for point in points:
            photo.check_point(point)
        try:
            if len(points) > 1:
                future = served.answering.submit(photo, None, options, points=points)
            else:
                future = served.answering.submit(photo, points[0] if points else None, options)
        except LimitError as error:
            raise Problem("busy", str(error), retry_after_s=5) from error
        answer = await self._answered(request, future)
        return answer.to_json(), answer.timings_ms

    async def _answered(self, request: Request, future: Future[Answer]) -> Answer:
        """Wait for an answer; a question is taken back when who asked it has left, or has waited for too long."""
        answer = asyncio.wrap_future(future)
        left = asyncio.ensure_future(_left(request))
        try:
            waiting: set[asyncio.Future[Any]] = {answer, left}
            await asyncio.wait(waiting, timeout=self.limits.answer_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise Problem("busy", f"there was no answer within {self.limits.answer_s:g} s; ask again later", retry_after_s=30)
        finally:
            left.cancel()
            if not answer.done():
                answer.cancel()


async def _left(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
