"""What clients send, checked before any of it reaches a task, a file name or a config parser.

MONAI Label merges a client's parameters into the request of a task, and its bundle tasks write them into a MONAI config
and parse that: a string with `$` is then Python code, one with `@` or `%` reads the config or a file, and a dictionary
with `_target_` calls anything. So only options that a task declares pass, each with the declared type.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .errors import ClientError

EXPRESSION_MARKS = ("$", "@", "%")
DEEPEST = 8
LONGEST_TEXT = 1000
LONGEST_KEY = 200
MOST_VALUES = 20_000
LARGEST_NUMBER = 2**63
MOST_POINTS = 1000

# A file system takes 255 bytes: the longest ending (.mrk.json) and that of a file being written come behind.
_ID_BYTES = 225
# Of control characters, those of a text of several lines alone; surrogates are no text, and no UTF-8 can hold them.
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
# What file names without their ending look like, also DICOM UIDs: no separator of paths, nothing hidden, no control
# characters, nothing that a config parser knows.
_IMAGE_ID = re.compile(r"\w[\w .,;\-+()=#&'!~^@\[\]{}]{0,199}")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_SESSION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GPUS = re.compile(r"|all|[0-9]{1,3}(,[0-9]{1,3})*")

Check = Callable[[str, Any], Any]


def image_id(value: str) -> str:
    """The value, if it can be the name of an image.

    Raises:
        ClientError: it cannot.
    """
    if _NO_TEXT.search(value) or len(value.encode()) > _ID_BYTES:
        raise ClientError(
            f"image {shown(value)} is no name of an image: it has at most {_ID_BYTES} bytes as UTF-8, where an "
            "accented letter has two or more, and no control characters"
        )
    # A file system may hold an accent as a character of its own, which is no letter to a pattern.
    if not _IMAGE_ID.fullmatch(unicodedata.normalize("NFC", value)) or value[-1] in " .":
        raise ClientError(
            f"image {shown(value)} is no name of an image: it begins with a letter or digit, has at most 200 "
            "characters, and no / or \\"
        )
    return value


def tag(value: str) -> str:
    """The value, if it can be the tag of a label (`final`, `original`, ...).

    Raises:
        ClientError: it cannot.
    """
    if not _TAG.fullmatch(value):
        raise ClientError(f"tag {shown(value)} is no tag: give up to 64 letters, digits, _, . and -, like final")
    return value


def session_id(value: str) -> str:
    """The value, if it can be the name of a session.

    Raises:
        ClientError: it cannot.
    """
    if not _SESSION.fullmatch(value):
        raise ClientError(f"session {shown(value)} is no session: give the session_id that PUT /session/ answered")
    return value


def shown(value: Any) -> str:
    """A value as an error shows it: JSON, not too long."""
    text = json.dumps(value, default=str, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 60 else text[:57] + "..."


def check_plain(value: Any, where: str) -> Any:
    """The value, if it can be stored and read again by everybody, and nothing in it means something to a config parser.

    Args:
        value: what JSON can hold.
        where: its place, for the error.

    Raises:
        ClientError: a string begins with `$`, `@` or `%`, or holds control characters or surrogates; a key is one of
            MONAI's (`_target_`) or has more than 200 characters; a number is not finite or beyond 2^63; there are more
            than 20,000 values; or lists and dictionaries lie in each other more than eight times.
    """
    _check_value(value, where, 0)
    if _count(value) > MOST_VALUES:
        raise ClientError(f"{where}: there are more than {MOST_VALUES} values; send less")
    return value


def _count(value: Any) -> int:
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return 1 + sum(map(_count, items))


def _check_value(value: Any, where: str, depth: int) -> None:
    if depth > DEEPEST:
        raise ClientError(f"{where}: lists and dictionaries lie in each other more than {DEEPEST} times")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if len(str(key)) > LONGEST_KEY:
                raise ClientError(f"{where}: the key {shown(key)} has more than {LONGEST_KEY} characters")
            _check_text(str(key), where)
            if re.fullmatch(r"_\w+_", str(key)):
                raise ClientError(f"{where}: the key {shown(key)} is not allowed")
            _check_value(item, f"{where}.{key}"[:100], depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_value(item, where, depth + 1)
    elif isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ClientError(f"{where}: {value} is not a finite number")
    elif isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        raise ClientError(f"{where}: a whole number is beyond 2^63, which others cannot read")


def _check_text(value: str, where: str) -> None:
    if found := _NO_TEXT.search(value):
        raise ClientError(f"{where}: the character {ord(found[0]):#06x} is no text; send valid Unicode without it")
    if value.lstrip().startswith(EXPRESSION_MARKS):
        raise ClientError(
            f"{where}: {shown(value)} begins with one of {' '.join(EXPRESSION_MARKS)}, which is not allowed"
        )


def parse_params(text: str) -> dict[str, Any]:
    """The JSON object of a form's field `params`, plain (see `check_plain`).

    Raises:
        ClientError: it is no JSON object, or not plain.
    """
    # Each value but the first has a comma before it: what is far too much is not even parsed.
    if text.count(",") > MOST_VALUES:
        raise ClientError(f"params: there are more than {MOST_VALUES} values; send less")
    try:
        given = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        raise ClientError(f"params {shown(text[:100])} is no JSON") from None
    if not isinstance(given, dict):
        raise ClientError(f"params {shown(text[:100])} is no JSON object like {{}}")
    check_plain(given, "params")
    return given


def flag(name: str, value: Any) -> bool:
    """True or false, also as the words that a form's text field sends."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise ClientError(f"{name}: {shown(value)} is not true or false")


def number(name: str, value: Any) -> float:
    """A finite number, also as text."""
    try:
        given = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        given = math.nan
    if not math.isfinite(given):
        raise ClientError(f"{name}: {shown(value)} is not a number")
    return given


def integer(name: str, value: Any) -> int:
    """A whole number, also as text or 10.0."""
    given = number(name, value)
    if not given.is_integer() or abs(given) > 2**53:
        raise ClientError(f"{name}: {shown(value)} is not a whole number")
    return int(given)


def text(name: str, value: Any) -> str:
    """A line of text; None, which clients send for a name that nobody gave, is empty."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise ClientError(f"{name}: {shown(value)} is not a line of at most {LONGEST_TEXT} characters")
    _check_text(value, name)
    return value


def one_of(choices: Collection[Any]) -> Check:
    """A check for one of some values. Clients whose user chose nothing send all of them; that is the first."""

    def check(name: str, value: Any) -> Any:
        if isinstance(value, list) and value and all(item in choices for item in value):
            return value[0]
        if isinstance(value, (str, int, float)) and value in choices:
            return value
        raise ClientError(f"{name}: {shown(value)} is not one of {', '.join(str(choice) for choice in choices)}")

    return check


def gpus(name: str, value: Any) -> str:
    """`all`, nothing, or numbers of GPUs with commas; it becomes CUDA_VISIBLE_DEVICES."""
    if value is None or (isinstance(value, str) and _GPUS.fullmatch(value)):
        return value or "all"
    raise ClientError(f"{name}: {shown(value)} is not all or numbers like 0,1")


def points(name: str, value: Any) -> list[list[float]]:
    """Clicked points: a list of `[i, j, k]` voxels."""
    if not isinstance(value, list) or len(value) > MOST_POINTS:
        raise ClientError(f"{name}: {shown(value)} is not a list of at most {MOST_POINTS} points [i, j, k]")
    for point in value:
        if not isinstance(point, list) or len(point) not in {2, 3}:
            raise ClientError(f"{name}: {shown(point)} is not a point [i, j, k]")
        for coordinate in point:
            number(name, coordinate)
    return value


def label_infos(name: str, value: Any) -> list[dict[str, Any]]:
    """What stock clients say about the values of a label map: `[{"name": ..., "idx": ...}]`."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ClientError(f"{name}: {shown(value)} is not a list like [{{'name': 'nasion', 'idx': 1}}]")
    return check_plain(value, name)
