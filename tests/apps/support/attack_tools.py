"""A server process of the tiny app, and clients that do not behave."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tiny_app import write_app, write_image

REPOSITORY = Path(__file__).parents[3]
START_SECONDS = 300


@dataclass
class Process:
    """A server and where it is."""

    url: str
    process: subprocess.Popen
    folder: Path

    def request(self, method: str, path: str, data: bytes | None = None, headers=None, timeout: float = 120):
        """Status and body of an answer."""
        request = urllib.request.Request(self.url + path, data=data, headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def connect(self) -> socket.socket:
        """An open connection."""
        parts = urlsplit(self.url)
        return socket.create_connection((parts.hostname, parts.port), timeout=30)

    def ask_slowly(self, seconds: float) -> socket.socket:
        """A connection on which an inference was asked for."""
        body, kind = form(params=json.dumps({"seconds": seconds}))
        client = self.connect()
        head = f"POST /infer/slow?image=case0&output=json HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return client

    def seconds_to_end(self) -> float:
        """How long the process takes to end after SIGTERM."""
        begin = time.monotonic()
        self.process.terminate()
        self.process.wait(timeout=60)
        return time.monotonic() - begin


def form(**fields: str | tuple[str, bytes]) -> tuple[bytes, str]:
    """Body and type of a form; a pair is a file with its name."""
    parts = []
    for name, value in fields.items():
        file, content = value if isinstance(value, tuple) else (None, value.encode())
        more = "" if file is None else f'; filename="{file}"'
        parts.append(f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n")
    return b"".join(parts) + b"--x--\r\n", "multipart/form-data; boundary=x"


@contextlib.contextmanager
def tiny_process(folder: Path, *options: str, launcher=()):
    """A server of the tiny app in a process of its own."""
    write_image(folder / "studies/case0.nii.gz")
    write_app(folder / "app")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "tmp").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "apps"), str(REPOSITORY)]),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(folder / "tmp"),
        "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
        "MONAI_LABEL_DATASTORE_AUTO_RELOAD": "false",
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
    }
    line = [
        *launcher,
        sys.executable,
        "-m",
        "landmark_app.lib.server.start",
        "start_server",
        "--app",
        str(folder / "app"),
    ]
    line += ["--studies", str(folder / "studies"), "--host", "127.0.0.1", "--port", str(port), *options]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(line, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    server = Process(f"http://127.0.0.1:{port}", process, folder)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                server.request("GET", "/info/", timeout=60)
                break
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
            time.sleep(0.2)
        yield server
    finally:
        process.kill()
        process.wait()
