"""Keeps what MONAI says at its start off the terminal: it goes to ``eval/train.log`` of the bundle."""

from __future__ import annotations

import configparser
import io
from pathlib import Path

# The loggers of `monai.bundle run`: the run's arguments, the files it reads.
_LOGGERS = ("monai.bundle.scripts", "monai.bundle.workflows")
# Starts of lines on standard error that tell a person who made the bundle nothing: MONAI warns before every run that a
# config is code, PyTorch that a job of one core has two processes that read (they read between two steps).
NOISE = ("parsing config_file ", "This DataLoader will create ")
_TEMPLATE = Path(__file__).parents[1] / "bundle" / "templates" / "logging.conf"


def quiet_logging(base: Path, log: Path) -> str:
    """A logging config in which MONAI's loggers write to a file, and only warnings of theirs to standard error too.

    Args:
        base: the bundle's own ``logging.conf``, whose other loggers stay as they are; that of a new bundle if there is
            none.
        log: file that is written to, at its end. Its folder must exist.

    Raises:
        configparser.Error: If `base` is no such file.
    """
    parser = configparser.RawConfigParser()
    parser.read_string((base if base.is_file() else _TEMPLATE).read_text(encoding="utf-8"))
    _add(parser, "formatter", "quietTimed", format="%(asctime)s - %(levelname)s - %(message)s")
    # The values are read with interpolation, as opposed to the format.
    place = repr(str(log.resolve())).replace("%", "%%")
    _add(
        parser,
        "handler",
        "quietFile",
        **{"class": "FileHandler", "formatter": "quietTimed", "args": f"({place}, 'a', 'utf-8')"},
    )
    _add(
        parser,
        "handler",
        "quietWarnings",
        **{"class": "StreamHandler", "level": "WARNING", "formatter": "quietTimed", "args": "(sys.stderr,)"},
    )
    for number, name in enumerate(_LOGGERS):
        _add(
            parser,
            "logger",
            f"quiet{number}",
            level="INFO",
            handlers="quietFile,quietWarnings",
            qualname=name,
            propagate="0",
        )
    stream = io.StringIO()
    parser.write(stream)
    return stream.getvalue()


def _add(parser: configparser.RawConfigParser, kind: str, name: str, **values: str) -> None:
    parser[f"{kind}_{name}"] = values
    keys = parser[f"{kind}s"].get("keys", "")
    parser[f"{kind}s"]["keys"] = ",".join(filter(None, [keys, name]))
