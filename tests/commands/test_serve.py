"""`serve`: what it refuses before anything is started, and the command that it starts."""

import importlib.util
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from auto_config.cli import main
from auto_config.commands.serve import serve
from auto_config.errors import UserError
from auto_config.running import server as serving
from auto_config.running.server import command


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def places(tmp_path):
    """A folder of images and one of bundles."""
    (tmp_path / "scans").mkdir()
    (tmp_path / "bundles" / "head" / "configs").mkdir(parents=True)
    return str(tmp_path / "scans"), str(tmp_path / "bundles")


@pytest.fixture
def with_monai_label(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        serving.importlib.util, "find_spec", lambda name: object() if name == "monailabel" else real(name)
    )


def test_the_command_listens_where_it_is_told_and_uses_the_own_server():
    line = command(Path("app"), "scans", "127.0.0.1", 8001, {"bundles": "/b", "models": "a,b"})
    assert line[:4] == [sys.executable, "-m", "landmark_app.lib.server.start", "start_server"]
    for words in (
        ["--app", "app"],
        ["--studies", "scans"],
        ["--host", "127.0.0.1"],
        ["--port", "8001"],
        ["--conf", "bundles", "/b"],
        ["--conf", "models", "a,b"],
        ["--uvicorn_app", "landmark_app.lib.server.application:app"],
    ):
        assert any(line[start : start + len(words)] == words for start in range(len(line)))


@pytest.mark.parametrize(
    ("studies", "bundles", "port", "message"),
    [
        ("nowhere", "bundles", 8000, "nowhere: is neither a folder of images nor the http(s) address"),
        ("ftp://pacs", "bundles", 8000, "ftp://pacs: is neither"),
        ("scans", "nowhere", 8000, "nowhere: is no folder"),
        ("scans", "scans", 8000, "scans: holds no bundle"),
        ("scans", "bundles/head", 8000, "is a bundle itself"),
        ("scans", "bundles", 0, "--port 0: give a number from 1 to 65535"),
    ],
)
def test_wrong_words_are_one_line(places, tmp_path, monkeypatch, capsys, studies, bundles, port, message):  # noqa: PLR0917
    monkeypatch.chdir(tmp_path)
    assert main(["serve", studies, "--bundles", bundles, "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_an_address_that_cannot_be_listened_on_is_said_at_once(places, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["serve", places[0], "--bundles", places[1], "--port", str(port)]) == 2
    assert f"--port {port}: cannot be listened on (address already in use)" in capsys.readouterr().err
    assert main(["serve", places[0], "--bundles", places[1], "--host", "203.0.113.7", "--insecure"]) == 2
    assert "--host 203.0.113.7 --port 8000: cannot be listened on" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "scanner.example.org"])
def test_other_machines_are_let_in_with_tokens_or_on_purpose_only(places, monkeypatch, capsys, host):
    monkeypatch.setattr(serving, "_check_address", lambda host, port: None)
    monkeypatch.setattr(serving.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(serving, "_run", lambda line, environment: 0)
    line = ["serve", places[0], "--bundles", places[1], "--host", host]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --host {host} lets other machines reach the server")
    assert error.count("\n") == 1
    assert "--tokens FILE" in error
    assert main([*line, "--insecure"]) == 0
    tokens = Path(places[0], "tokens.txt")
    tokens.write_text("")
    assert main([*line, "--tokens", str(tokens)]) == 0


def test_an_address_may_stand_for_the_folder_of_images(places, with_monai_label, monkeypatch):
    monkeypatch.setattr(serving, "_run", lambda line, environment: line)
    line = serve("https://pacs.example.org/dicom-web", bundles=places[1], port=free_port())
    assert "https://pacs.example.org/dicom-web" in line


def test_without_monai_label_it_says_how_to_install_it(places, monkeypatch, capsys):
    monkeypatch.setattr(serving.importlib.util, "find_spec", lambda name: None)
    assert main(["serve", places[0], "--bundles", places[1], "--port", str(free_port())]) == 2
    assert "pip install '.[label]' in a checkout; of a wheel its path in place of the dot" in capsys.readouterr().err


def test_options_reach_the_server_as_words(places, with_monai_label, monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(serving, "_run", lambda line, environment: started.append((line, environment)) or 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tokens.txt").write_text("")
    words = ["--tokens", "tokens.txt", "--insecure", "--cors_origins", "https://a.org,https://b.org:1"]
    more = ["--models", "head,jaw", "--device", "cuda:1", "--points_format", "fiducial", "--max_upload_mb", "7"]
    more += ["--max_voxels", "1000"]
    port = ["--port", str(free_port())]
    assert main(["serve", "scans", "--bundles", "bundles", *words, *more, *port]) == 0
    [(line, environment)] = started
    conf = {line[i + 1]: line[i + 2] for i, word in enumerate(line) if word == "--conf"}
    assert conf == {
        "bundles": str(tmp_path / "bundles"),
        "device": "cuda:1",
        "points_format": "fiducial",
        "models": "head,jaw",
        "tokens": str(tmp_path / "tokens.txt"),
        "insecure": "true",
        "cors_origins": "https://a.org,https://b.org:1",
        "max_upload_mb": "7",
        "max_voxels": "1000",
        "follow_links": "false",
    }
    assert line[line.index("--host") + 1] == "127.0.0.1"
    # Tools beside this Python come first, and the app can be imported by the processes that the server starts.
    assert environment["PATH"].startswith(str(Path(sys.executable).parent))
    app = importlib.util.find_spec("landmark_app")
    assert app is not None or (Path(environment["PYTHONPATH"].split(":")[0]) / "landmark_app" / "main.py").is_file()


def test_a_checkout_without_the_app_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(serving.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(serving, "__file__", str(tmp_path / "auto_config" / "running" / "server.py"))
    with pytest.raises(UserError, match="'landmark_app' is not installed"):
        serving._find_app()


def test_the_server_ends_when_serve_is_told_to():
    program = "import time; time.sleep(60)"
    before = signal.getsignal(signal.SIGTERM)
    threading.Timer(1.0, os.kill, [os.getpid(), signal.SIGTERM]).start()
    start = time.monotonic()
    assert serving._run([sys.executable, "-c", program], {}) == 0
    assert time.monotonic() - start < 30
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_server_that_cannot_start_gives_its_status():
    assert serving._run([sys.executable, "-c", "raise SystemExit(3)"], {}) == 3


def test_a_server_that_does_not_hear_the_signal_is_ended(monkeypatch):
    """As where foreign code holds the interpreter's lock."""
    monkeypatch.setattr(serving, "SECONDS_TO_END", 0.5)
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    threading.Timer(1.5, os.kill, [os.getpid(), signal.SIGTERM]).start()
    start = time.monotonic()
    assert serving._run([sys.executable, "-c", program], {}) == 0
    assert time.monotonic() - start < 30


def test_links_and_sessions_are_options(places, with_monai_label, monkeypatch):
    started = []
    monkeypatch.setattr(serving, "_run", lambda line, environment: started.append((line, environment)) or 0)
    line = ["serve", places[0], "--bundles", places[1], "--port", str(free_port())]
    assert main([*line, "--follow_links", "--max_sessions_mb", "5"]) == 0
    words, environment = started[0]
    conf = {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == "--conf"}
    assert (conf["follow_links"], conf["max_sessions_mb"]) == ("true", "5")
    # What a server leaves that has to end at once is removed with the folder of its app.
    assert Path(environment["TMPDIR"]).parent == Path(words[words.index("--app") + 1])
