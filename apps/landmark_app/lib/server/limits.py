"""Limits: how large requests may be, one and all together, and how much work runs and waits."""

from __future__ import annotations

import asyncio
import math
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio
from anyio import to_thread
from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..core.answers import error_response
from ..core.errors import ClientError
from ..core.quiet_threads import run_quietly
from .auth import account_of

Result = TypeVar("Result")
CLIENT_GONE = 499
_SECONDS_BETWEEN_LOOKS = 0.5
_SMALL_BLOCK = 4096

_TAKES_FILES = re.compile(r"/(datastore/?|datastore/(image|label)|session/?|(infer|model|proxy)/.*)", re.DOTALL)
_ALL_TOO_LARGE = "clients send more at the moment than this server takes at once; try again in a moment"


def _too_large(limit: int) -> str:
    return f"the request is larger than {limit / 2**20:g} MB; max_upload_mb and max_params_mb of the server allow more"


class BodyLimit:
    """ASGI middleware: a body of more than `max_bytes` is answered 413, and 429 if all take more than `max_total`.

    What the header Content-Length announces is refused before anything is read; a body without that header, or longer
    than it, is refused at the first byte too many. What was received of a request counts until its answer. Where no
    file is sent, a body is read into memory and parsed at once, so it may have `max_plain` bytes only.

    However many bodies come at the same time, the event loop parses one block of one of them, then looks at everything
    else that it has to do.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_total: int, max_plain: int) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.max_plain = max_plain
        self.max_total = max_total
        self.total = 0
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its body counted."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not announced.isdigit():
            await error_response(400, "the header Content-Length is no number")(scope, receive, send)
            return
        size = int(announced) if len(announced) < 20 else math.inf
        limit = self.max_bytes if _TAKES_FILES.fullmatch(scope["path"]) else min(self.max_plain, self.max_bytes)
        if size > limit:
            await error_response(413, _too_large(limit))(scope, receive, send)
            return
        if self.total + size > self.max_total:
            await error_response(429, _ALL_TOO_LARGE, {"Retry-After": "5"})(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            size = len(message.get("body", b""))
            received += size
            self.total += size
            # FastAPI lets this class alone pass through its reading of a form.
            if received > limit:
                raise HTTPException(413, _too_large(limit))
            if self.total > self.max_total:
                raise HTTPException(429, _ALL_TOO_LARGE)
            if size > _SMALL_BLOCK:
                async with self._turn:
                    await asyncio.sleep(0)
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            self.total -= received


class FullQueue:
    """ASGI middleware: where a queue is full, a request for it is answered 429 before anything is made of it.

    A route refuses as well, but only after a millisecond of parsing and looking up; thousands ask in the same moment.

    Args:
        app: what answers else.
        queue: of the requests.
        path: where they go, its beginning.
    """

    def __init__(self, app: ASGIApp, queue: WorkQueue, path: str) -> None:
        self.app, self.queue, self.path = app, queue, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] == "http" and scope["path"].startswith(self.path) and self.queue.is_full():
            response = error_response(429, self.queue.full_message)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)


class WorkQueue:
    """Runs blocking functions in threads, a few at a time; the event loop and other threads stay free.

    Those who wait are served in the order in which they came, and leave when their client is gone. What runs is told.

    Args:
        what: what is done, for the error: `inferences`.
        workers: functions that run at the same time.
        waiting: functions that may wait; one more is refused.
        each: functions of one account that may run and wait; None for as many as all.
        quiet: the functions take all cores and yield to everything else.
    """

    def __init__(self, what: str, workers: int, waiting: int, each: int | None = None, *, quiet: bool = False) -> None:
        self.what = what
        self.workers = workers
        self.quiet = quiet
        self.places = workers + waiting
        self.each = each or self.places
        self.taken = 0
        self.running = 0
        self.line: deque[anyio.Event] = deque()
        self.accounts: Counter[str] = Counter()
        # Bounded by `running`; the threads of others are not taken.
        self._threads = anyio.CapacityLimiter(workers)

    async def run(self, function: Callable[[], Result], request: Request | None = None) -> Result:
        """The function's result.

        Args:
            function: what blocks.
            request: who asks; where its client goes away before its turn comes, the function does not run.

        Raises:
            ClientError: status 429, when as many as allowed run and wait already; 499, the client is gone.
        """
        with self.place(request):
            return await self.in_turn(function, request)

    @contextmanager
    def place(self, request: Request | None = None) -> Iterator[None]:
        """One of the places, to be taken before a request costs anything; `in_turn` runs within.

        Raises:
            ClientError: status 429, there is none.
        """
        self.refuse_if_full(request)
        account = _name(request)
        self.taken += 1
        self.accounts[account] += 1
        try:
            yield
        finally:
            self.taken -= 1
            self.accounts[account] -= 1
            if not self.accounts[account]:
                del self.accounts[account]

    async def in_turn(
        self, function: Callable[[], Result], request: Request | None = None, gone: threading.Event | None = None
    ) -> Result:
        """The function's result, as `run`, for one who has a place.

        Args:
            function: what blocks.
            request: who asks.
            gone: is set when the client goes away while the function runs, which may end then.

        Raises:
            ClientError: status 499, the client was gone before its turn came.
        """
        turn = anyio.Event()
        self.line.append(turn)
        self._next()
        try:
            await self._wait(turn, request)
            with _watched(request, gone):
                if self.quiet:
                    return await run_quietly(function)
                return await to_thread.run_sync(function, limiter=self._threads)
        finally:
            if turn.is_set():
                self.running -= 1
            else:
                self.line.remove(turn)
            self._next()

    def refuse_if_full(self, request: Request | None) -> None:
        """Nothing, where there is a place for one more of an account; before a request costs anything.

        Raises:
            ClientError: status 429, there is none.
        """
        if self.is_full() or self.accounts[_name(request)] >= self.each:
            raise ClientError(self.full_message, 429)

    def is_full(self) -> bool:
        """Whether all places are taken."""
        return self.taken >= self.places

    @property
    def full_message(self) -> str:
        """What is said then."""
        return f"too many {self.what} run or wait already; try again in a moment"

    def _next(self) -> None:
        while self.line and self.running < self.workers:
            self.line.popleft().set()
            self.running += 1

    async def _wait(self, turn: anyio.Event, request: Request | None) -> None:
        while not turn.is_set():
            with anyio.move_on_after(_SECONDS_BETWEEN_LOOKS):
                await turn.wait()
            if request is not None and await request.is_disconnected():
                raise ClientError("the client is gone", CLIENT_GONE)


@contextmanager
def _watched(request: Request | None, gone: threading.Event | None) -> Iterator[None]:
    """Set an event when the client of a request goes away."""
    if request is None or gone is None:
        yield
        return

    async def watch() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        gone.set()

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()


def _name(request: Request | None) -> str:
    return account_of(request).name if request is not None else ""
