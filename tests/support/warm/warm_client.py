"""Stands in for the interpreter: hands its command to the process of `warm_server`, and ends as the command ends.

It starts in a few hundredths of a second, because it imports no package. A command line or an environment that the
server cannot give a forked process is run by the interpreter itself.
"""

import json
import os
import signal
import socket
import sys

FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
AT_THE_START = ("LC_", "LANG", "LD_", "MALLOC_", "PYTHON")
"""Variables that an interpreter, or what it loads first, reads once."""

LATER = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
"""Of these, those that the server can follow."""


def parsed(words):
    """Options of the interpreter, and what it shall run; None where only an interpreter can."""
    options, words = {"warnings": [], "unbuffered": False}, list(words)
    while words and words[0] not in ("-m", "-c"):
        if words[0].endswith(".py"):
            return {**options, "how": "script", "what": words[0], "arguments": words[1:]}
        word = words.pop(0)
        if word == "-W" and words:
            options["warnings"].append(words.pop(0))
        elif word.startswith("-W") and len(word) > 2:
            options["warnings"].append(word[2:])
        elif word == "-u":
            options["unbuffered"] = True
        elif word == "-Xfrozen_modules=off":
            continue  # the kernel of notebooks; it matters to a debugger alone
        else:
            return None
    if len(words) < 2:
        return None
    return {**options, "how": words[0], "what": words[1], "arguments": words[2:]}


def read_at_the_start(environment):
    """These variables; without a locale, too, text is UTF-8."""
    found = {k: v for k, v in environment.items() if k.startswith(AT_THE_START) and k not in LATER}
    return {k: v for k, v in found.items() if not (k.startswith(("LC_", "LANG")) and v.upper().endswith("UTF-8"))}


def descriptors():
    """Of the files that this process was given."""
    found = []
    for number in sorted(int(name) for name in os.listdir("/proc/self/fd")):  # noqa: PTH208
        try:
            os.fstat(number)
        except OSError:
            continue  # that of the listing
        found.append(number)
    return found


def main(interpreter, address, environment):
    request = parsed(sys.argv[1:])
    if request is None or read_at_the_start(os.environ) != environment:
        os.execv(interpreter, [interpreter, *sys.argv[1:]])
    numbers = descriptors()
    ignored = [name for name in FORWARDED if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN]
    request |= {
        "cwd": os.getcwd(),  # noqa: PTH109
        "environment": dict(os.environ),
        "numbers": numbers,
        "ignored": ignored,
    }
    server = socket.socket(socket.AF_UNIX)
    server.connect(address)
    text = json.dumps(request).encode()
    socket.send_fds(server, [len(text).to_bytes(8, "big")], numbers)
    server.sendall(text)
    for name in FORWARDED:
        # Also what is ignored: the command ignores it, too, until it wants something else.
        signal.signal(getattr(signal, name), lambda number, _: server.send(bytes([number])))
    status = b""
    while len(status) < 4:
        part = server.recv(4 - len(status))
        if not part:
            os._exit(70)
        status += part
    ended = int.from_bytes(status, "big", signed=True)
    if ended < 0:
        signal.signal(-ended, signal.SIG_DFL) if -ended not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -ended)
    os._exit(ended)
