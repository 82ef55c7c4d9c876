"""Connections: how many there are, and how long one may wait for a client that does not go on.

uvicorn closes a connection that rests between two requests. One that never sends a whole head, sends its body a byte at
a time or does not read its answer stays for good, and each holds a file of this process.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_ROOM_SECONDS = 0.05
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True)
class Bounds:
    """What clients may take.

    Args:
        connections: at the same time; one more takes the place of the one that waits longest for its client.
        least_seconds: that each has, until there are twice as many.
        head_seconds: for the head of a request, from the opening of the connection or the end of the answer before.
        body_seconds: in each such period `body_bytes` of a body must come, and something of an answer must be taken.
        body_bytes: see there.
        refused_seconds: how long the rest of a body is read, and dropped, whose request has its answer already.
        look_seconds: between two looks at the clock.
    """

    connections: int = 256
    head_seconds: float = 20.0
    body_seconds: float = 30.0
    body_bytes: int = 16 * 1024
    refused_seconds: float = 10.0
    look_seconds: float = 1.0
    least_seconds: float = 3.0


@dataclass
class Progress:
    """What a connection waits for, since when (seconds of the event loop), and what came since."""

    state: str = "head"
    since: float = 0.0
    received: int = 0
    unsent: int = 0


def is_overdue(progress: Progress, now: float, bounds: Bounds) -> bool:
    """Whether a client had its time."""
    waited = now - progress.since
    if progress.state == "body":
        return waited > bounds.body_seconds and progress.received < bounds.body_bytes
    seconds = {"head": bounds.head_seconds, "refused body": bounds.refused_seconds, "answer": bounds.body_seconds}
    return waited > seconds.get(progress.state, math.inf)


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, whose connections are few and never wait for long."""

    bounds = Bounds()

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.progress = Progress(since=self.loop.time())
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it where all others are in use."""
        super().connection_made(transport)
        self.progress = Progress(since=self.loop.time())
        self._timer = self.loop.call_later(self.bounds.look_seconds, self._look)
        if len(self.connections) > 2 * self.bounds.connections:
            self._make_room()
            if len(self.connections) > 2 * self.bounds.connections:
                self.close()
        else:
            # Many are taken at once, and what their clients have sent already is read afterwards.
            self.loop.call_later(_ROOM_SECONDS, self._make_room)

    def _make_room(self) -> None:
        if len(self.connections) <= self.bounds.connections:
            return
        # A busy server has not read yet what clients of a moment ago have sent.
        full = len(self.connections) > 2 * self.bounds.connections
        latest = self.loop.time() - (0.0 if full else self.bounds.least_seconds)
        found = (one for one in self.connections if isinstance(one, BoundedProtocol))
        victim = waits_longest(one for one in found if one.progress.since <= latest)
        if victim is None:
            return
        if not victim.progress.received:
            victim.transport.write(_FULL)
        victim.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes."""
        self.progress.received += len(data)
        super().data_received(data)
        self.update()

    def on_response_complete(self) -> None:
        """The next request has its own time."""
        super().on_response_complete()
        self.update()

    def close(self) -> None:
        """End the connection; what runs for it sees that its client is gone."""
        self.connections.discard(self)
        if self.flow.write_paused:
            self.transport.abort()  # `close` waits until a client that does not read has read
        else:
            self.transport.close()

    def update(self) -> None:
        """Note what the connection waits for now; the clock starts anew when that changes."""
        state, now, before = self._state(), self.loop.time(), self.progress
        unsent = self.transport.get_write_buffer_size()
        period_is_over = state == "body" and now - before.since > self.bounds.body_seconds
        went_on = (state == "answer" and unsent < before.unsent) or (
            period_is_over and before.received >= self.bounds.body_bytes
        )
        if state != before.state or went_on:
            self.progress = Progress(state, now)
        self.progress.unsent = unsent

    def _state(self) -> str:
        """What it waits for: the client's `head`, `body`, reading of the `answer`; or for this `server`."""
        if self.flow.write_paused:
            return "answer"
        if self.conn.their_state is h11.SEND_BODY:
            if self.conn.our_state in {h11.DONE, h11.MUST_CLOSE, h11.CLOSED}:
                return "refused body"
            return "server" if self.flow.read_paused else "body"
        return "head" if self.conn.their_state is h11.IDLE else "server"

    def _look(self) -> None:
        if not self.transport.is_closing():
            self.update()
        if is_overdue(self.progress, self.loop.time(), self.bounds):
            self.close()
            return
        self._timer = self.loop.call_later(self.bounds.look_seconds, self._look)


def waits_longest(connections: Iterable[BoundedProtocol]) -> BoundedProtocol | None:
    """Of the connections that wait for their clients, the one that waits longest; None if none does.

    Those whose clients send a body as they should, or read an answer, come last.
    """

    def order(one: BoundedProtocol) -> tuple[bool, float]:
        goes_on = one.progress.state == "answer" or one.progress.received >= one.bounds.body_bytes
        return goes_on, one.progress.since

    return min((one for one in connections if one.progress.state != "server"), key=order, default=None)
