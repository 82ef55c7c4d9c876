"""Starts MONAI Label with the landmark app, and ends with it."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from auto_config.errors import UserError
from auto_config.wording import install_extra

APP, START, SERVER = "landmark_app", "landmark_app.lib.server.start", "landmark_app.lib.server.application"
SECONDS_TO_END = 4.5
STOPPED_BY_CTRL_C = 130
# MONAI Label writes logs into the folder of the app, which may be an installed one that nobody may write to.
MAIN = '"""What MONAI Label loads; `auto_config serve` wrote it."""\n\nfrom landmark_app.main import LandmarkApp\n'


def run_server(studies: str, host: str, port: int, choices: Mapping[str, Any]) -> int:
    """Serve until the process is told to end.

    Args:
        studies: folder with images, or address of a DICOMweb server.
        host: address to listen on.
        port: to listen on.
        choices: what the app and its server are told, by name; None leaves one to them.

    Returns:
        The server's exit status; 0 after SIGTERM, 130 after Ctrl-C.

    Raises:
        UserError: the app is not installed.
    """
    search_path = _find_app()
    with tempfile.TemporaryDirectory(prefix="landmark_app_") as app:
        (Path(app) / "main.py").write_text(MAIN, encoding="utf-8")
        # Uploads lie there while they are checked; a server that has to end at once leaves them.
        temporary = Path(app) / "tmp"
        temporary.mkdir()
        line = command(Path(app), studies, host, port, _as_words(choices))
        address = f"http://{host}:{port}/"
        print(f"{studies}: open {address} in 3D Slicer, or {address}ohif/ in a browser", flush=True)
        return _run(line, {**_environment(search_path), "TMPDIR": str(temporary)})


def _as_words(choices: Mapping[str, Any]) -> dict[str, str]:
    """Choices as ``--conf`` takes them; None leaves one to the app and its server."""
    words = {}
    for name, value in choices.items():
        if isinstance(value, bool):
            words[name] = str(value).lower()
        elif isinstance(value, (list, tuple)):
            words[name] = ",".join(str(item) for item in value)
        elif value is not None:
            words[name] = str(value)
    return words


def command(app: Path, studies: str, host: str, port: int, conf: Mapping[str, str]) -> list[str]:
    """The command that starts MONAI Label.

    Args:
        app: folder with a ``main.py``.
        studies: folder or address.
        host: address to listen on.
        port: to listen on.
        conf: what the app is told, by name.
    """
    start = [sys.executable, "-m", START, "start_server"]
    where = ["--app", str(app), "--studies", studies, "--host", host, "--port", str(port)]
    told = [word for name, value in conf.items() for word in ("--conf", name, value)]
    return [*start, *where, *told, "--uvicorn_app", f"{SERVER}:app"]


def check_start(studies: str, bundles: Path, host: str, port: int) -> None:
    """Refuse what the server would only stumble over after half a minute.

    Raises:
        UserError: studies or bundles are not there, the address is not free, or MONAI Label is not installed.
    """
    if not studies.startswith(("http://", "https://")) and not Path(studies).is_dir():
        raise UserError(f"{studies}: is neither a folder of images nor the http(s) address of a DICOMweb server")
    if not bundles.is_dir():
        raise UserError(f"{bundles}: is no folder; give --bundles the folder that holds the bundles")
    if (bundles / "configs").is_dir():
        raise UserError(f"{bundles}: is a bundle itself; give --bundles the folder that holds it")
    if not any((root / "configs").is_dir() for root in bundles.iterdir()):
        raise UserError(f"{bundles}: holds no bundle; put there what `auto_config create` writes")
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}: give a number from 1 to 65535")
    _check_address(host, port)
    if importlib.util.find_spec("monailabel") is None:
        raise UserError(
            "MONAI Label is not installed; with Python 3.10 to 3.12, in an environment of its own: "
            f"{install_extra('label')}"
        )


def _check_address(host: str, port: int) -> None:
    """Refuse an address that is not this machine's, or that another program listens on."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind(address)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"--host {host} --port {port}: cannot be listened on ({reason}); give an address of this machine, "
            "such as 127.0.0.1, and a port that is free"
        ) from error


def _find_app() -> Path | None:
    """The folder from which the app is imported; None where it is installed."""
    if importlib.util.find_spec(APP) is not None:
        return None
    checkout = Path(__file__).resolve().parents[2] / "apps"
    if not (checkout / APP / "main.py").is_file():
        raise UserError(
            f"the package '{APP}' is not installed; install all of this project again, from a checkout or a wheel"
        )
    return checkout


def _environment(search_path: Path | None) -> dict[str, str]:
    """The environment of the server and of the trainings that it starts."""
    checkout = [] if search_path is None else [str(search_path), str(search_path.parent)]
    python_path = [*checkout, *filter(None, [os.environ.get("PYTHONPATH")])]
    # The tools beside this Python: DICOM conversion, torchrun.
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return {**os.environ, "PATH": os.pathsep.join(path), "PYTHONPATH": os.pathsep.join(python_path)}


def _run(line: list[str], environment: Mapping[str, str]) -> int:
    """Run the server until it ends or this process is told to."""
    told = False
    with subprocess.Popen(line, env=environment) as process:

        def stop(_number: int, _frame: FrameType | None) -> None:
            nonlocal told
            told = True
            process.terminate()
            # Foreign code that holds the interpreter's lock keeps the server from hearing the signal.
            killer = threading.Timer(SECONDS_TO_END, process.kill)
            killer.daemon = True
            killer.start()

        before = signal.signal(signal.SIGTERM, stop)
        try:
            status = process.wait()
        except KeyboardInterrupt:
            # A terminal sends Ctrl-C to both. The server ends by itself, in its own time; else it is told once more.
            try:
                process.wait(timeout=SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
            return STOPPED_BY_CTRL_C
        finally:
            signal.signal(signal.SIGTERM, before)
    return 0 if told else abs(status)
