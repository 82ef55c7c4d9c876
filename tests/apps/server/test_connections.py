"""Connections whose clients do not go on are closed, and there are never too many; times of tenths of seconds."""

import asyncio
import contextlib
import threading
import time

import pytest
import uvicorn
from landmark_app.lib.server.connections import BoundedProtocol, Bounds, Progress, is_overdue

LARGE = 64 * 2**20
SOON = 15.0


class Quick(BoundedProtocol):
    bounds = Bounds(20, head_seconds=0.5, body_seconds=1.0, body_bytes=1000, refused_seconds=0.5, look_seconds=0.1)


async def app(scope, receive, send):
    if scope["path"] == "/slow":
        await asyncio.sleep(2.5)
    if scope["path"] == "/read":
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * (LARGE if scope["path"] == "/large" else 2)})


@pytest.fixture(scope="module")
def port():
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=Quick, ws="none", lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


async def opened(port, *parts, pause=0.0):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(pause)
    return reader, writer


async def until_closed(reader):
    """Seconds until the server closes, and what it said."""
    begin, said = time.monotonic(), b""
    with contextlib.suppress(ConnectionError):
        said = await asyncio.wait_for(reader.read(), SOON)
    return time.monotonic() - begin, said


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"GET / HT"],
        [b"GET / HTTP/1.1\r\nHost: x\r\nA: "],
        [b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"a"],
        [b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nabc"],
        # Answered at once, but the body goes on.
        [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"],
    ],
    ids=["nothing", "half a line", "half a head", "half a body", "half a chunk", "a body that nobody wants"],
)
def test_a_client_that_does_not_go_on(port, parts):
    async def run():
        reader, writer = await opened(port, *parts)
        found = await until_closed(reader)
        writer.close()
        return found

    seconds, _ = asyncio.run(run())
    assert seconds < SOON


def test_a_body_a_byte_at_a_time(port):
    async def run():
        reader, writer = await opened(port, b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")

        async def drip():
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"a")
                    await writer.drain()
                    await asyncio.sleep(0.05)

        task = asyncio.create_task(drip())
        seconds, said = await until_closed(reader)
        task.cancel()
        return seconds, said

    seconds, said = asyncio.run(run())
    assert (seconds < SOON, said) == (True, b"")


def test_an_answer_that_nobody_reads(port):
    async def run():
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(3.0)
        with contextlib.suppress(ConnectionError):
            return len(await reader.read())
        return 0

    assert asyncio.run(run()) < LARGE


def test_those_who_wait_for_the_server_or_are_slow_but_steady_stay(port):
    async def run():
        slow = await opened(port, b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = b"POST /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 30000\r\n\r\n"
        steady = await opened(port, head, *[b"a" * 1000] * 30, pause=0.1)
        return [(await until_closed(reader))[1] for reader, _ in (slow, steady)]

    for said in asyncio.run(run()):
        assert said.startswith(b"HTTP/1.1 200")


def test_more_connections_than_there_may_be(port):
    """The oldest that says nothing makes room; one that is answered does not."""

    async def run():
        slow = await opened(port, b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await asyncio.sleep(0.3)
        silent = [await opened(port) for _ in range(100)]
        answers = []
        for _ in range(5):
            reader, writer = await opened(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answers.append((await until_closed(reader))[1])
        answers.append((await until_closed(slow[0]))[1])
        for _, writer in silent:
            writer.close()
        return answers

    assert all(said.startswith(b"HTTP/1.1 200") for said in asyncio.run(run()))


def test_all_connections_in_use(port):
    async def run():
        busy = [await opened(port, b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") for _ in range(40)]
        await asyncio.sleep(0.5)
        reader, _ = await opened(port)
        _, refused = await until_closed(reader)
        return refused, [(await until_closed(one))[1] for one, _ in busy]

    refused, answers = asyncio.run(run())
    assert refused.startswith(b"HTTP/1.1 503")
    assert all(said.startswith(b"HTTP/1.1 200") for said in answers)


@pytest.mark.parametrize(
    ("progress", "overdue"),
    [
        (Progress("head", 0.0), 20.0),
        (Progress("body", 0.0, received=5), 30.0),
        (Progress("body", 0.0, received=20_000), None),
        (Progress("answer", 0.0), 30.0),
        (Progress("refused body", 0.0, received=10**9), 10.0),
        (Progress("server", 0.0), None),
    ],
)
def test_the_time_that_each_has(progress, overdue):
    assert is_overdue(progress, 10**9, Bounds()) == (overdue is not None)
    if overdue is not None:
        assert not is_overdue(progress, overdue, Bounds())
        assert is_overdue(progress, overdue + 0.1, Bounds())
