"""Attacks on a server process: others are answered while they run, SIGTERM ends it, nothing is left half written."""

import json
import time

import pytest
from attack_tools import form, tiny_process
from tiny_app import write_image

# Loose: the machine may be busy. Without the bounds these take a minute and more.
SOON, END = 20.0, 9.0


@pytest.fixture
def server(tmp_path):
    with tiny_process(tmp_path) as server:
        yield server


def test_clients_that_are_gone_leave_the_queue_and_sigterm_ends_what_runs(server):
    clients = [server.ask_slowly(4.0) for _ in range(30)]
    time.sleep(1.0)
    for client in clients:
        client.close()
    begin = time.monotonic()
    body, kind = form(params=json.dumps({"seconds": 0.0}))
    status, answer = server.request("POST", "/infer/slow?image=case0&output=json", body, {"Content-Type": kind})
    assert (status, json.loads(answer)["radius"]) == (200, 1.0)
    assert time.monotonic() - begin < SOON
    # One that runs for minutes, many that wait, and connections that are half open.
    held = [server.ask_slowly(300.0) for _ in range(20)] + [server.connect() for _ in range(20)]
    time.sleep(0.5)
    assert server.request("GET", "/info/")[0] == 200
    assert server.seconds_to_end() < END
    for client in held:
        client.close()


def test_hundreds_of_connections_that_say_nothing(server):
    held = []
    for number in range(600):
        client = server.connect()
        client.sendall(b"GET /info/ HTTP/1.1\r\n" if number % 2 else b"PUT /session/ HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        held.append(client)
    for _ in range(5):
        assert server.request("GET", "/info/", timeout=SOON)[0] == 200
    import psutil

    # 512 at most, whatever comes; and the sockets that the server itself has.
    assert len(psutil.Process(server.process.pid).net_connections()) < 520
    assert server.seconds_to_end() < END


def test_sigterm_during_uploads_leaves_whole_files(server):
    content = write_image(server.folder / "x.nii.gz").read_bytes()
    body, kind = form(file=("x.nii.gz", content))
    head = f"PUT /datastore/image?image=half HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
    half = server.connect()
    half.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-100])
    assert server.request("PUT", "/datastore/image?image=whole", body, {"Content-Type": kind})[0] == 200
    assert server.seconds_to_end() < END
    names = {path.name for path in (server.folder / "studies").iterdir() if not path.name.startswith(".")}
    assert {"case0.nii.gz", "whole.nii.gz"} == {name for name in names if name.endswith(".nii.gz")}
    assert list(json.loads((server.folder / "studies/datastore_v2.json").read_text())["objects"]) == ["case0", "whole"]
    assert (server.folder / "studies/whole.nii.gz").read_bytes() == content
    half.close()
