"""A command in a process of its own: its output, its traceback, its signals."""

import os
import signal
import subprocess
import sys
import time

from auto_config.running import child

FAILS = """
import sys
print("said before", flush=True)
print("a warning", file=sys.stderr)
try:
    raise ValueError("scan 7 has no landmarks; annotate it")
except ValueError as error:
    raise RuntimeError("failed to make a component") from error
"""


def run(code, tmp_path, **options):
    return child.run([sys.executable, "-c", code], log=tmp_path / "eval" / "error.log", **options)


def test_a_traceback_becomes_the_line_of_its_first_cause(tmp_path, capfd):
    assert run(FAILS, tmp_path) == 2
    out, err = capfd.readouterr()
    assert out == "said before\n"
    assert err.splitlines()[:2] == ["a warning", "error: scan 7 has no landmarks; annotate it"]
    assert "Traceback" not in err
    kept = (tmp_path / "eval" / "error.log").read_text()
    assert kept.startswith("Traceback") and "failed to make a component" in kept


def test_debug_shows_the_traceback_and_keeps_the_status(tmp_path, capfd):
    assert run(FAILS, tmp_path, debug=True) == 1
    assert "Traceback" in capfd.readouterr().err
    assert not (tmp_path / "eval").exists()


def test_what_succeeds_or_fails_without_a_traceback_keeps_its_status(tmp_path, capfd):
    assert run("print('done')", tmp_path) == 0
    assert run("raise SystemExit(7)", tmp_path) == 7
    assert "error" not in capfd.readouterr().err


def test_an_end_by_a_signal_is_said(tmp_path, capfd):
    assert run("import os; os.kill(os.getpid(), 9)", tmp_path) == 2
    assert "ended by SIGKILL, mostly for want of memory; go on with --resume" in capfd.readouterr().err


def test_a_traceback_that_was_handled_is_shown_where_the_command_succeeds(tmp_path, capfd):
    code = "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()"
    assert run(code, tmp_path) == 0
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_torchrun_names_the_process_before_each_line(tmp_path, capfd):
    code = "import sys\nfor t in ('Traceback (most recent call last):', '  File', 'ValueError: no scan'):\n"
    code += "    print('[rank1]: ' + t, file=sys.stderr)\nsys.exit(1)"
    assert run(code, tmp_path) == 2
    assert capfd.readouterr().err.startswith("error: no scan\n")


def test_messages_with_several_parts():
    lines = ["Traceback (most recent call last):\n", '  File "x.py", line 1\n', "some.pkg.MyError: what: where\n"]
    assert child.first_message(lines) == "what: where"
    assert child.first_message([lines[0], "KeyError\n"]) == "KeyError"


def test_ctrl_c_is_repeated_until_it_is_heard(tmp_path):
    deaf_once = (
        "import signal, sys, time\nheard = []\n"
        "signal.signal(2, lambda *_: heard.append(1) if not heard else sys.exit(0))\n"
        "print('ready', flush=True)\ntime.sleep(60)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", deaf_once], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        child._interrupt(process, patience=0.3)
        assert process.returncode == 0


def test_a_terminate_signal_reaches_the_command(tmp_path):
    waiting = (
        "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(9))\n"
        "print('ready', flush=True)\ntime.sleep(60)"
    )
    parent = (
        "import sys; from pathlib import Path; from auto_config import child\n"
        f"sys.exit(child.run([sys.executable, '-c', {waiting!r}], log=Path({str(tmp_path / 'log')!r})))"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=30) == 9
