"""Forks processes that have imported PyTorch and MONAI already, which takes an interpreter 4 to 8 seconds each time.

Nothing of the package under test is imported here: each process does that itself, from its own ``PYTHONPATH``.
"""

import atexit
import contextlib
import fcntl
import importlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import sys
import threading
import warnings
from pathlib import Path

import compiled_once

HIGH = 400
"""Above the numbers of files that a command is given."""


def ready(address, modules, scripts):
    """Import and listen."""
    compiled_once.install(Path(scripts).rglob("*.py"))
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    return listener


def serve(address, modules, executable, path, scripts):
    """Serve until standard input ends; in a forked process what to run, else None."""
    base = [entry for entry in sys.path if entry not in ("", *path)]
    listener = ready(address, modules, scripts)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [])
        _forget_ended()
        if sys.stdin in readable:
            return None
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            request, numbers = received(connection)
            child = os.fork()
            if child == 0:
                connection.close()
                become(request, numbers, executable, base)
                return request
            for number in numbers:
                os.close(number)
            keep(connection, child)
        connection.close()


def _forget_ended():
    """Wait for processes that have ended, so that their seconds are counted as those of this one."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def received(connection):
    """The request of a client, and the files that it was given."""
    head, numbers, _, _ = socket.recv_fds(connection, 8, 250)
    length, text = int.from_bytes(head, "big"), b""
    while len(text) < length:
        text += connection.recv(length - len(text)) or os._exit(1)
    return json.loads(text), numbers


def keep(connection, child):
    """Pass signals on to the command, and its end to the client; it ends where the client is killed."""
    ended = os.pidfd_open(child)
    while True:
        readable, _, _ = select.select([connection, ended], [], [])
        if ended in readable:
            break
        sent = connection.recv(16)
        for number in sent or [signal.SIGKILL]:
            with contextlib.suppress(ProcessLookupError):
                (os.kill if sent else os.killpg)(child, number)
        if not sent:
            os.waitpid(child, 0)
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(status.to_bytes(4, "big", signed=True))
    os._exit(0)


def become(request, numbers, executable, base):
    """In the forked process: have the files, variables and options that a new interpreter would have."""
    os.setpgid(0, 0)
    # First out of the way, so that no file takes the number of another one.
    high = [fcntl.fcntl(number, fcntl.F_DUPFD, HIGH) for number in numbers]
    for number in numbers:
        os.close(number)
    for source, number in zip(high, request["numbers"], strict=True):
        os.dup2(source, number, inheritable=number <= 2)
        os.close(source)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    handlers = {"SIGINT": signal.default_int_handler}
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        ignored = name in request["ignored"]
        signal.signal(getattr(signal, name), signal.SIG_IGN if ignored else handlers.get(name, signal.SIG_DFL))
    unbuffered = request["unbuffered"] or bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdout.reconfigure(line_buffering=os.isatty(1), write_through=unbuffered)
    sys.stdin = sys.__stdin__ = open(0, encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.warnoptions[:] = request["warnings"]
    warnings.resetwarnings()
    _usual_warnings()
    own = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    first = {"-c": "", "-m": str(Path.cwd()), "script": str(Path(request["what"]).absolute().parent)}
    sys.path[:] = [first[request["how"]], *own, *base]
    sys.executable = executable
    multiprocessing.set_executable(executable)
    importlib.invalidate_caches()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        # Its pool of threads is made anew after a fork, when it is first asked for, and two threads that ask at a time
        # can find none.
        sys.modules["torch"].set_num_threads(sys.modules["torch"].get_num_threads())


def _usual_warnings():
    """The filters with which an interpreter starts."""
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.filterwarnings("default", category=DeprecationWarning, module="__main__")
    for category in (PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    for action in sys.warnoptions:
        warnings._setoption(action)


def run(request):
    """Run a command as the interpreter does, its end included."""
    main = sys.modules["__main__"]
    main.__dict__.clear()
    main.__dict__.update(__name__="__main__", __builtins__=__builtins__, __spec__=None, __doc__=None)
    status = 0
    try:
        if request["how"] == "-c":
            sys.argv[:] = ["-c", *request["arguments"]]
            exec(compile(request["what"], "<string>", "exec"), main.__dict__)
        elif request["how"] == "script":
            sys.argv[:] = [request["what"], *request["arguments"]]
            main.__dict__["__file__"] = request["what"]
            exec(compile(Path(request["what"]).read_bytes(), request["what"], "exec"), main.__dict__)
        else:
            sys.argv[:] = [request["what"], *request["arguments"]]
            runpy._run_module_as_main(request["what"])
    except SystemExit as error:
        status = error.code
        if status is not None and not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
    except BaseException as error:
        # Without the line of this function.
        error.__traceback__ = error.__traceback__.tb_next
        sys.excepthook(type(error), error, error.__traceback__)
        status = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    end(status or 0)


def end(status):
    with contextlib.suppress(BaseException):
        threading._shutdown()
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status & 0xFF)
