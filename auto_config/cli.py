"""The command line: choose a command, call it, and turn its errors into one line and an exit status."""

import os
import sys
from collections.abc import Sequence
from inspect import signature

from auto_config import __version__
from auto_config.arguments import Command, call, choose, help_text, overview
from auto_config.commands.calibrate import calibrate
from auto_config.commands.convert import convert
from auto_config.commands.create import create
from auto_config.commands.demo import demo
from auto_config.commands.evaluate import evaluate
from auto_config.commands.export import export
from auto_config.commands.inspect import inspect
from auto_config.commands.join import join
from auto_config.commands.package import package
from auto_config.commands.predict import predict
from auto_config.commands.recipe import recipe
from auto_config.commands.review import review
from auto_config.commands.serve import serve
from auto_config.commands.train import train
from auto_config.commands.verify import verify
from auto_config.errors import UserError

WRONG_INPUT = 2
INTERRUPTED = 130
READER_GONE = 141

COMMANDS: dict[str, Command] = {
    command.__name__: command
    for command in (
        inspect,
        convert,
        create,
        recipe,
        train,
        calibrate,
        predict,
        evaluate,
        review,
        verify,
        package,
        export,
        join,
        serve,
        demo,
    )
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        words: What stands after the program's name, `sys.argv` if not given.

    Returns:
        The exit status: what the command returns, 0 if that is None; 2 for wrong input, 130 for Ctrl+C.
    """
    if words is None and sys.argv[1:2] == ["predict"]:
        from auto_config.bundle import light_monai

        # In a process of its own alone: who calls this from Python may want the whole of MONAI.
        light_monai.install()
    words = list(sys.argv[1:] if words is None else words)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        return _run(words, debug=debug)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away, as in `auto_config inspect scans | head`; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except (UserError, ValueError, OSError) as error:
        if debug:
            raise
        print("error:", " ".join(_said(error).split()), file=sys.stderr)
        return WRONG_INPUT
    except Exception as error:
        if debug:
            raise
        # Not foreseen, so it may be a fault of ours: its kind is said, and how to see where it comes from.
        message = " ".join(str(error.__cause__ or error).split())
        print(f"error: {type(error).__name__}: {message} (--debug shows the traceback)", file=sys.stderr)
        return WRONG_INPUT


def _said(error: Exception) -> str:
    """The message of an error; of one of the operating system, the path first and what to do."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return (
            f"{error.filename}: {error.strerror}; check the path, and whether its folder is there and may be written to"
        )
    return str(error)


def _run(words: list[str], *, debug: bool) -> int:
    if not words or words in (["--help"], ["-h"], ["help"]):
        print(overview(COMMANDS))
        return 0
    if words == ["--version"]:
        print(__version__)
        return 0
    if words[0] == "help":
        words = [*words[1:], "--help"]
    command = choose(words[0], COMMANDS)
    if "--help" in words or "-h" in words:
        from auto_config.methods.tables import lines

        print(help_text(command, lines()))
        return 0
    passed_on = ["--debug"] if debug and "debug" in signature(command).parameters else []
    return call(command, [*words[1:], *passed_on]) or 0
