"""What keeps a busy server quick: few changes of threads, one block of a body in a turn, and nothing for nobody."""

import asyncio
import contextvars
import gc
import os
import sys
import threading
from types import SimpleNamespace

import httpx
import pytest
from anyio import to_thread
from app_tools import oblique_affine, write_fixed_bundle, write_volume
from fastapi import Depends, FastAPI
from landmark_app.lib.core import devices
from landmark_app.lib.core.answers import answer_failures
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.core.quiet_threads import NICENESS
from landmark_app.lib.server import auth, limits, routes_tasks, start
from landmark_app.lib.server.auth import Guard, Role, needs
from landmark_app.lib.server.limits import BodyLimit, FullQueue, WorkQueue
from landmark_app.lib.tasks.bundles import ServedBundle


def request_of(is_gone):
    """A request whose client is gone as soon as the event is set."""

    async def is_disconnected():
        return is_gone.is_set()

    return SimpleNamespace(state=SimpleNamespace(account=SimpleNamespace(name="anna")), is_disconnected=is_disconnected)


def test_a_role_is_looked_up_in_the_event_loop(monkeypatch):
    where = []

    def account_of(request):
        where.append(threading.current_thread())
        return auth.Account("anna", Role.ANNOTATE)

    async def ask():
        server = FastAPI()
        answer_failures(server)
        server.get("/", dependencies=[Depends(needs(Role.TRAIN))])(lambda: {})
        transport = httpx.ASGITransport(app=server)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.get("/")).status_code

    monkeypatch.setattr(auth, "account_of", account_of)
    assert asyncio.run(ask()) == 403
    assert where == [threading.main_thread()]


def test_of_many_bodies_one_block_is_taken_in_a_turn_of_the_loop():
    """Else `/info/` waits in each of its steps until a block of every upload was parsed."""
    taken, clients, blocks = [], 6, 4

    async def app(scope, receive, send):
        for _ in range(blocks):
            await receive()
            taken.append(turn[0])

    async def receive():
        return {"type": "http.request", "body": bytes(2**16), "more_body": True}

    async def send(message):
        raise AssertionError(message)

    turn = [0]

    async def count():
        while True:
            turn[0] += 1
            await asyncio.sleep(0)

    async def crowd():
        limit = BodyLimit(app, max_bytes=2**30, max_total=2**30, max_plain=2**30)
        scope = {"type": "http", "headers": [], "path": "/session/"}
        counting = asyncio.create_task(count())
        await asyncio.gather(*(limit(scope, receive, send) for _ in range(clients)))
        counting.cancel()

    asyncio.run(crowd())
    assert len(taken) == clients * blocks
    assert len(set(taken)) == len(taken)


def test_of_two_hundred_requests_those_without_a_place_cost_no_thread(monkeypatch):
    """They come in the same moment, before any of them waits in the line."""
    prepared, release = [], threading.Event()

    class Inference:
        def __init__(self, *arguments):
            prepared.append(arguments)
            self.gone = threading.Event()
            self.app = SimpleNamespace(datastore=lambda: None)

        def run(self):
            release.wait(20)
            raise ClientError("done", 418)

    monkeypatch.setattr(routes_tasks, "_Inference", Inference)
    monkeypatch.setattr(routes_tasks, "app_instance", lambda: None)

    async def crowd():
        server = FastAPI()
        answer_failures(server)
        queue = WorkQueue("inferences", workers=1, waiting=4, quiet=True)
        server.include_router(routes_tasks.infer_router(SimpleNamespace(max_params_bytes=1000), None, queue))
        server.add_middleware(Guard, tokens=None, insecure=True, origins=())
        transport = httpx.ASGITransport(app=server)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:
            asked = [asyncio.create_task(client.post("/infer/head?image=x")) for _ in range(40)]
            while sum(one.done() for one in asked) < 35:
                await asyncio.sleep(0.01)
            release.set()
            return [one.status_code for one in await asyncio.gather(*asked)]

    statuses = asyncio.run(crowd())
    assert (statuses.count(429), statuses.count(418)) == (35, 5)
    assert len(prepared) == 5


def test_where_no_place_is_free_a_request_is_answered_before_anything_is_made_of_it():
    reached = []

    async def app(scope, receive, send):
        reached.append(scope["path"])

    async def ask(server, path):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=server), base_url="http://127.0.0.1") as client:
            return await client.post(path)

    async def crowd():
        queue = WorkQueue("inferences", workers=1, waiting=0)
        server = FullQueue(app, queue, "/infer/")
        with queue.place(None):
            refused = await ask(server, "/infer/head?image=x")
            for path in ("/info/", "/batch/infer/head"):
                with pytest.raises(AssertionError):  # the stand-in gives no answer
                    await ask(server, path)
        with pytest.raises(AssertionError):
            await ask(server, "/infer/head")
        return refused

    refused = asyncio.run(crowd())
    assert (refused.status_code, "too many inferences" in refused.json()["error"]) == (429, True)
    assert reached == ["/info/", "/batch/infer/head", "/infer/head"]


def test_what_runs_hears_that_its_client_is_gone(monkeypatch):
    monkeypatch.setattr(limits, "_SECONDS_BETWEEN_LOOKS", 0.01)
    gone, heard = threading.Event(), threading.Event()

    def work():
        gone.set()
        return heard.wait(20)

    async def ask():
        queue = WorkQueue("inferences", workers=1, waiting=1)
        request = request_of(gone)
        with queue.place(request):
            ended = await queue.in_turn(work, request, heard)
            with queue.place(request), pytest.raises(ClientError, match="too many"):
                await queue.run(work, request)
        return ended, queue.taken, queue.running, dict(queue.accounts)

    assert asyncio.run(ask()) == (True, 0, 0, {})


def test_the_network_is_not_called_for_a_client_that_is_gone(tmp_path):
    image = write_volume(tmp_path / "image.nii.gz", oblique_affine("ras", (1.5, 1.5, 1.5), 0.0), (24, 22, 20))
    bundle = ServedBundle(write_fixed_bundle(tmp_path / "head"))
    asked = []
    found = bundle.predict(image, is_gone=lambda: asked.append(1) or False)
    assert asked and found.landmarks
    with pytest.raises(ClientError, match="the client is gone") as error:
        bundle.predict(image, is_gone=lambda: True)
    assert error.value.status == 499
    # The next one asks for itself.
    assert bundle.predict(image).landmarks == found.landmarks


def test_a_server_that_has_started_stops_for_no_collector_and_no_thread(monkeypatch):
    """A collection of cycles goes through all that is loaded; a thread waits 5 ms for another one that works."""

    async def startup(self, sockets=None):
        pass

    monkeypatch.setattr(start.uvicorn.Server, "startup", startup)
    before, objects = sys.getswitchinterval(), len(gc.get_objects())
    try:
        asyncio.run(start.EndingServer(start.uvicorn.Config("x")).startup())
        assert sys.getswitchinterval() == pytest.approx(start.SWITCH_SECONDS)
        assert gc.get_freeze_count() > objects / 2
        assert len(gc.get_objects()) < objects / 10
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)


def test_the_devices_are_looked_for_once(monkeypatch):
    asked = []
    monkeypatch.setattr(devices, "device_list", lambda: asked.append(1) or ["cpu"])
    devices.devices.cache_clear()
    assert devices.devices() == devices.devices() == ["cpu"]
    assert len(asked) == 1
    devices.devices.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_a_network_yields_to_everything_else():
    """Its thread, and those that it starts, have a low priority; that of others stays; errors and results come back."""
    word = contextvars.ContextVar("word", default="none")

    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def work():
        started = []
        thread = threading.Thread(target=lambda: started.append(niceness()))
        thread.start()
        thread.join()
        return niceness(), started[0], word.get()

    def fails():
        raise ClientError("no such image", 404)

    async def ask():
        word.set("given")
        queue = WorkQueue("inferences", workers=1, waiting=1, quiet=True)
        found = await queue.run(work)
        with pytest.raises(ClientError, match="no such image"):
            await queue.run(fails)
        return found, await to_thread.run_sync(niceness), queue.running

    before = niceness()
    found, others, running = asyncio.run(ask())
    assert found == (min(before + NICENESS, 19), min(before + NICENESS, 19), "given")
    assert (others, niceness(), running) == (before, before, 0)
