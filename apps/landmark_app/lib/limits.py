"""Limits: how large a request may be, and how many inferences run and wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import to_thread
from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .answers import error_response
from .errors import ClientError

Result = TypeVar("Result")


def _too_large(limit: int) -> str:
    return f"the request is larger than {limit / 2**20:g} MB; the server's option max_upload_mb allows more"


class BodyLimit:
    """ASGI middleware: a body of more than `max_bytes` is answered 413.

    What the header Content-Length announces is refused before anything is read; a body without that header, or longer
    than it, is refused at the first byte too many.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its body counted."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced) > self.max_bytes:
            await error_response(413, _too_large(self.max_bytes))(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                # FastAPI lets this class alone pass through its reading of a form.
                raise HTTPException(413, _too_large(self.max_bytes))
            return message

        await self.app(scope, counted, send)


class InferenceQueue:
    """Runs blocking functions in threads of their own, a few at a time; the event loop and other threads stay free.

    Args:
        workers: functions that run at the same time.
        waiting: functions that may wait; one more is refused.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self.limiter = anyio.CapacityLimiter(workers)
        self.places = workers + waiting
        self.taken = 0

    async def run(self, function: Callable[[], Result]) -> Result:
        """The function's result.

        Raises:
            ClientError: status 429, when as many as allowed run and wait already.
        """
        if self.taken >= self.places:
            raise ClientError(f"{self.taken} inferences run or wait already; try again in a moment", 429)
        self.taken += 1
        try:
            return await to_thread.run_sync(function, limiter=self.limiter)
        finally:
            self.taken -= 1
