"""``large_files.yml``: files that are no part of a bundle's folder but fetched from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from auto_config.verification.finding import Finding, passed

NAMES = ("large_files.yml", "large_files.yaml", "large_files.json")
"""What the list may be called, as MONAI's `download_large_files` looks for it."""
_HASHES = ("md5", "sha1", "sha256", "sha512")
_KEYS = "path|url|hash_val|hash_type"
# The list is a flat one of these four keys, so a parser of YAML (which MONAI does not require) is not needed.
_PAIR = re.compile(rf"""(?:^|[\s{{,])["']?({_KEYS})["']?[ \t]*:[ \t]*("[^"\n]*"|'[^'\n]*'|[^\s,}}]+)""")
_ITEM = re.compile(r"^\s*-(?=\s)(?:[ \t]*\{)?|\{", re.MULTILINE)
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)


def listed_large_files(root: Path) -> list[Mapping[str, str]]:
    """The entries of the list: ``path``, ``url``, ``hash_val`` and ``hash_type``, as far as they are there.

    Args:
        root: folder of the bundle.

    Returns:
        One entry for each file; none where there is no list, or one that cannot be read.
    """
    file = _file(root)
    if file is None:
        return []
    text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix == ".json":
        return _entries_of_json(text)
    _, *items = _ITEM.split(_COMMENT.sub("", text))
    return [{key: value.strip("\"'") for key, value in _PAIR.findall(item)} for item in items]


def listed_paths(root: Path) -> list[str]:
    """Paths, from the bundle's folder, of the files that the list names.

    Args:
        root: folder of the bundle.
    """
    return [entry["path"] for entry in listed_large_files(root) if "path" in entry]


def check_large_files(root: Path) -> list[Finding]:
    """Whether each entry can be fetched and lands in the bundle; nothing where there is no list.

    Args:
        root: folder of the bundle.
    """
    file = _file(root)
    if file is None:
        return []
    what = f"{file.name} says where its files are fetched from"
    entries = listed_large_files(root)
    wrong = [fault for number, entry in enumerate(entries, 1) for fault in _faults(number, entry)]
    if not entries:
        wrong = ["it lists nothing"]
    if not wrong:
        return [passed(what)]
    remedy = (
        "each entry has a path in the bundle and the http(s) url of the file itself, as `auto_config package"
        " --weights_url ADDRESS` writes them"
    )
    return [Finding(what, "failed", "; ".join(wrong), remedy)]


def _file(root: Path) -> Path | None:
    return next((root / name for name in NAMES if (root / name).is_file()), None)


def _entries_of_json(text: str) -> list[Mapping[str, str]]:
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError):
        return []
    listed = content.get("large_files") if isinstance(content, dict) else None
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return [{key: str(value) for key, value in entry.items() if value is not None} for entry in entries]


def _faults(number: int, entry: Mapping[str, str]) -> list[str]:
    path, url = entry.get("path", ""), entry.get("url", "")
    name = path or f"entry {number}"
    faults = []
    if not path:
        faults.append(f"{name} has no path")
    elif PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        faults.append(f"{name} is not in the bundle")
    if not url:
        faults.append(f"{name} has no url")
    elif not _is_web_address(url):
        faults.append(f"the url of {name} is {url!r}")
    if entry.get("hash_val") and entry.get("hash_type", "md5") not in _HASHES:
        faults.append(f"the hash_type of {name} is {entry['hash_type']!r}, not {', '.join(_HASHES)}")
    return faults


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # such as a bracket that is not closed
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
