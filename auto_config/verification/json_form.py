"""JSON as the commit hook of the model zoo writes it: ``pretty-format-json --autofix --no-sort-keys --indent=4``."""

from __future__ import annotations

import json
from pathlib import Path

from auto_config.verification.files import shared_files
from auto_config.verification.finding import Finding, passed
from auto_config.wording import shortened


def formed(data: bytes) -> bytes:
    """The same JSON with every element on a line of its own, letters beyond ASCII escaped, and a line break at its end.

    Args:
        data: a file of JSON.

    Raises:
        ValueError: it is none.
    """
    return (json.dumps(json.loads(data), indent=4) + "\n").encode("ascii")


def check_json_form(root: Path) -> Finding:
    """Which files the hook would write anew: a note, since it does so itself. What is no JSON is not judged.

    Args:
        root: folder of the bundle.
    """
    what = "JSON in the form of the zoo's commit hook"
    other = [
        path.relative_to(root).as_posix()
        for path in shared_files(root)
        if path.suffix == ".json" and not _is_formed(path.read_bytes())
    ]
    if not other:
        return passed(what)
    remedy = "the hook writes them anew; `auto_config package` hands them on in that form"
    return Finding(what, "note", shortened(other), remedy)


def _is_formed(data: bytes) -> bool:
    try:
        return formed(data) == data
    except (ValueError, RecursionError):
        return True
