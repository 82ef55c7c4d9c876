"""What each attack of docs/security.md costs others: how long `/info/` takes, how memory grows, how SIGTERM works.

Each attack runs against a server of its own, as `auto_config serve` starts it. Attackers are a process of their own, so
that the clock does not wait for the interpreter's lock of their threads; they still share the processor. Run it where
MONAI Label is installed.

Example, the numbers of docs/security.md:
    python benchmarks/server_attacks.py BUNDLES STUDIES
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from urllib.parse import quote

import psutil

REPOSITORY = Path(__file__).resolve().parents[1]
START_SECONDS = 600
MEGABYTE = 2**20
spawn = multiprocessing.get_context("spawn")


@dataclass
class Target:
    """What attackers know of a server, and what it answered them."""

    port: int
    image: str
    content: bytes
    model: str
    over: Event = field(default_factory=spawn.Event)
    statuses: Counter = field(default_factory=Counter)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        """The status of an answer; 0 where the server closes without one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.putrequest(method, path, skip_host="Host" in headers)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders(body)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            status = 0
        finally:
            connection.close()
        self.statuses[status] += 1
        return status

    def put(self, path: str, field: str, name: str | None, content: bytes) -> int:
        """The status of the answer to a form of one field."""
        file = "" if name is None else f'; filename="{name}"'
        head = f'--x\r\nContent-Disposition: form-data; name="{field}"{file}\r\n\r\n'.encode()
        kind = "multipart/form-data; boundary=x"
        method = "POST" if path.startswith("/infer") else "PUT"
        return self.ask(method, path, head + content + b"\r\n--x--\r\n", Content_Type=kind)

    def connect(self) -> socket.socket:
        """An open connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)

    def repeat(self, clients: int, work: Callable[[int], object]) -> None:
        """Let clients work again and again until the attack is over."""

        def client(number: int) -> None:
            while not self.over.is_set():
                work(number)

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(client, range(clients)))


@dataclass
class Server:
    """A server that is attacked."""

    target: Target
    process: subprocess.Popen

    def processes(self) -> list[psutil.Process]:
        """The server and what it started."""
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def memory(self) -> int:
        """Bytes of memory of all processes."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total


def names_another_file(target: Target) -> None:
    """Labels and images whose headers name other files of the machine, also one that is never written."""
    nrrd = b"type: uchar\ndimension: 3\nsizes: 1 1 1\nencoding: raw\n\n"
    mha = b"ObjectType = Image\nNDims = 3\nDimSize = 1 1 1\nElementType = MET_UCHAR\n"
    files = {
        "x.nrrd": b"NRRD0004\n# c\rdata file: /etc/hostname\n" + nrrd,
        "y.nrrd": b"NRRD0004\n" + b"# c\n" * 20_000 + b"data file: /etc/hostname\n" + nrrd,
        "x.mha": mha + b"ElementDataFile = LOCAL\nElementDataFile = /etc/hostname\n",
        "z.mha": mha + b"ElementDataFile = /dev/zero\n",
    }
    path = f"/datastore/label?image={target.image}&tag=final"

    def work(_number: int) -> None:
        for name, content in files.items():
            target.put(path, "label", name, content)
            target.put("/session/", "files", name, content)

    target.repeat(4, work)


def promises_more(target: Target) -> None:
    """Files of 1 KB whose headers promise 1500^3 voxels."""
    head = b"ObjectType = Image\nNDims = 3\nDimSize = 1500 1500 1500\nElementType = MET_USHORT\n"
    content = head + b"ElementDataFile = LOCAL\n" + b"\0" * 1024
    path = f"/datastore/label?image={target.image}&tag=final"
    target.repeat(4, lambda _number: target.put(path, "label", "x.mha", content))


def sessions(target: Target) -> None:
    """Sessions, as many as there may be and more."""
    target.repeat(8, lambda _number: target.put("/session/", "files", "x.nii.gz", target.content))


def info(target: Target) -> None:
    """What no list of images could hold, and fields that the server reads."""
    texts = (
        rb'{"a": "\ud800"}',
        b'{"a": NaN}',
        b"[" * 50_000,
        b'{"strategy": "abc"}',
        b'{"a": [' + b"0," * 200_000 + b"0]}",
    )
    path = f"/datastore/image/info?image={target.image}"
    target.repeat(8, lambda number: target.put(path, "info", None, texts[number % len(texts)]))


def names(target: Target) -> None:
    """Hosts and names that are none."""

    def work(number: int) -> None:
        target.ask("GET", "/info/", Host="[bad")
        target.ask("GET", f"/datastore/image?image={quote('é' * 200)}")
        target.ask("GET", f"/ohif/{'%2e%2e%2f' * number}etc/passwd")
        target.ask("GET", f"/datastore/image?image={'a' * 50_000}")

    target.repeat(8, work)


def gone_clients(target: Target, pause: float = 3.0) -> None:
    """200 inferences at a time, whose clients go away at once; the next ones come after a pause in seconds."""
    request = (
        f"POST /infer/{target.model}?image={target.image} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
    )
    while not target.over.is_set():
        held = [target.connect() for _ in range(200)]
        for client in held:
            with contextlib.suppress(OSError):
                client.sendall(request.encode())
        target.over.wait(0.5)
        for client in held:
            client.close()
        target.statuses["asked"] += len(held)
        target.over.wait(pause)


def half_open(target: Target) -> None:
    """900 connections, without a request, or with half a head, or half a body."""
    head = b"PUT /session/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n--x"
    held = []
    for number in range(900):
        client = target.connect()
        with contextlib.suppress(OSError):
            client.sendall((b"", b"GET /info/ HTTP/1.1\r\nHost: 127", head)[number % 3])
        held.append(client)
    target.statuses["opened"] += len(held)
    target.over.wait()
    for client in held:
        client.close()


def slow_bodies(target: Target) -> None:
    """200 uploads of a few bytes a second."""
    held = []
    for _ in range(200):
        client = target.connect()
        client.sendall(b"PUT /session/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n")
        held.append(client)
    target.statuses["opened"] += len(held)
    while not target.over.wait(0.5):
        for client in held:
            with contextlib.suppress(OSError):
                client.sendall(b"x")


def links(target: Target) -> None:
    """An image that is a link to a file elsewhere."""
    target.repeat(4, lambda _number: target.ask("GET", "/datastore/image?image=link"))


def viewer(target: Target) -> None:
    """Pages of the viewer, and ways out of the proxy."""

    def work(_number: int) -> None:
        target.ask("GET", "/ohif/")
        target.ask("GET", "/proxy/dicom/wado/studies/..%2f..%2fsystem")

    target.repeat(8, work)


def large_uploads(target: Target) -> None:
    """Uploads of 64 MB that are no images."""
    content = os.urandom(64 * MEGABYTE)
    target.repeat(6, lambda _number: target.put("/datastore/image?image=large", "file", "x.nii.gz", content))


ATTACKS: dict[str, Callable[[Target], None]] = {
    "none": lambda target: target.over.wait() and None,
    "A, A2: names another file": names_another_file,
    "B: promises more than it holds": promises_more,
    "B: sessions": sessions,
    "B: large uploads": large_uploads,
    "C, D: info": info,
    "E: hosts and names": names,
    "G: clients that are gone": gone_clients,
    "G, twice a second": partial(gone_clients, pause=0.0),
    "H: half-open connections": half_open,
    "H: slow bodies": slow_bodies,
    "I: links": links,
    "I2: viewer and proxy": viewer,
}


@contextlib.contextmanager
def running(bundles: Path, studies: Path) -> Iterator[Server]:
    """A server of a copy of the studies, with a link to a file elsewhere among them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "studies"
        shutil.copytree(studies, copy, ignore=shutil.ignore_patterns("labels", ".*", "datastore*"))
        image = min(copy.glob("*.nii.gz"))
        shutil.copyfile(image, Path(folder) / "elsewhere.nii.gz")
        (copy / "link.nii.gz").symlink_to(Path(folder) / "elsewhere.nii.gz")
        line = [sys.executable, "-m", "auto_config", "serve", str(copy), "--bundles", str(bundles), "--port", str(port)]
        environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "MONAI_LABEL_SESSION_PATH": str(Path(folder) / "sessions"),
        }
        process = subprocess.Popen(
            line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        model = min(path.name for path in bundles.iterdir() if (path / "configs").is_dir())
        target = Target(port, image.name.removesuffix(".nii.gz"), image.read_bytes(), model)
        try:
            deadline = time.monotonic() + START_SECONDS
            while target.ask("GET", "/info/") != 200:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the server did not start; run `auto_config serve` by hand to see why")
                time.sleep(0.3)
            # The first one loads the weights, which is no growth.
            target.ask("POST", f"/infer/{model}?image={target.image}")
            yield Server(target, process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def info_ms(port: int) -> float:
    """Milliseconds of one GET /info/, on a connection of its own; infinite where it is not answered."""
    begin = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/info/")
        good = connection.getresponse().read(1) == b"{"
    except (OSError, http.client.HTTPException):
        good = False
    finally:
        connection.close()
    return (time.perf_counter() - begin) * 1000 if good else float("inf")


def attackers(name: str, target: Target, answers: Connection) -> None:
    """What the process of the attackers does until it is over."""
    target.statuses.clear()
    ATTACKS[name](target)
    answers.send(target.statuses)


@contextlib.contextmanager
def attacked(name: str, target: Target) -> Iterator[Counter]:
    """Let an attack run; what was answered until its end is counted afterwards."""
    statuses: Counter = Counter()
    answers, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=attackers, args=[name, target, theirs])
    process.start()
    theirs.close()
    try:
        yield statuses
    finally:
        target.over.set()
        with contextlib.suppress(EOFError):
            if answers.poll(60):
                statuses.update(answers.recv())
        process.kill()
        process.join()


def measure(server: Server, name: str, seconds: float) -> dict[str, object]:
    """Numbers of one attack."""
    before = most = server.memory()
    with attacked(name, server.target) as statuses:
        time.sleep(2.0)
        latencies: list[float] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            latencies.append(info_ms(server.target.port))
            most = max(most, server.memory())
            time.sleep(0.05)
        # Stopped while the attack runs.
        processes = server.processes()
        begin = time.monotonic()
        server.process.terminate()
        server.process.wait(timeout=120)
        psutil.wait_procs(processes, timeout=60)
        stopped = time.monotonic() - begin
    return {
        "info_median_ms": round(statistics.median(latencies), 1),
        "info_worst_ms": round(max(latencies), 1),
        "infos": len(latencies),
        "growth_mb": round((most - before) / MEGABYTE),
        "sigterm_s": round(stopped, 1),
        "statuses": {str(status): count for status, count in statuses.most_common()},
    }


def main() -> None:
    """Run the attacks and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path)
    parser.add_argument("studies", type=Path, help="folder of images, of which one is .nii.gz")
    parser.add_argument("--seconds", type=float, default=8.0, help="for which each attack runs")
    parser.add_argument("--only", help="attacks whose names contain this")
    arguments = parser.parse_args()
    for name in ATTACKS:
        if arguments.only and arguments.only not in name:
            continue
        with running(arguments.bundles.resolve(), arguments.studies.resolve()) as server:
            print(json.dumps({"attack": name, **measure(server, name, arguments.seconds)}), flush=True)


if __name__ == "__main__":
    main()
