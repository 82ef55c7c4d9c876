"""Which files of a bundle are handed on, and what is changed in them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from auto_config.bundle.json_text import json_text
from auto_config.bundle.pretrained import without_pretrained
from auto_config.bundle_scripts.files.weights import read_weights
from auto_config.bundle_scripts.points.instances import THRESHOLDS_FILE
from auto_config.errors import UserError
from auto_config.verification.files import is_large
from auto_config.verification.json_form import formed
from auto_config.verification.parsed import kind_of, parsed

PLACE = "/path/to/dataset"
"""Stands for the folder of the images."""
FOLDERS = ("configs", "docs", "scripts", "atlas")
WEIGHTS = ("models/model.pt", "models/calibration.json", "models/ensemble.json", f"models/{THRESHOLDS_FILE}")
_CONFIG = re.compile(r"configs/[^/]+\.json")
_OBJECTS = re.compile(r"(?:configs|models)/[^/]+\.json")
_NEEDED = {"configs/inference.json": ("spacing",), "configs/metadata.json": ("version", "network_data_format")}
"""What the package's own parts are made of; `verify` asks for everything else."""
_SHORTEST_NAME = 4
"""Names of cases that are shorter, such as 12, would be found everywhere."""


def shared_content(root: Path) -> dict[str, bytes]:
    """The files that predict, describe and train, by their path in the bundle.

    Left out are data lists, caches, outputs, states to go on with, and weights of folds that no ensemble reads.

    Args:
        root: folder of the bundle.

    Raises:
        UserError: the bundle has no weights, weights that its ensemble names are not there, a file of weights is
            damaged or holds Python objects, or a file of JSON is no object, has a key twice or lacks one that the
            package is made of.
    """
    if not (root / WEIGHTS[0]).is_file():
        raise UserError(f"{root}: has no models/model.pt; train it first: auto_config train {root}")
    paths = [root / "LICENSE", *(path for folder in FOLDERS for path in sorted((root / folder).rglob("*")))]
    names = [path.relative_to(root).as_posix() for path in paths if path.is_file() and "__pycache__" not in path.parts]
    names += [name for name in WEIGHTS if (root / name).is_file()]
    for member in _members(root):
        path = root / member
        if not path.is_file() or not path.resolve().is_relative_to((root / "models").resolve()):
            raise UserError(
                f"{root}: models/ensemble.json names {member}, which is not there or outside of models/; train that "
                "fold again"
            )
        names.append(member)
        thresholds = path.with_name(THRESHOLDS_FILE)
        if thresholds.is_file():
            names.append(thresholds.relative_to(root).as_posix())
    _refuse_damaged(root, names)
    content = {name: (root / name).read_bytes() for name in dict.fromkeys(names)}
    _refuse_other_configs(root, content)
    return {name: _without_places(name, data) for name, data in content.items()}


def _refuse_damaged(root: Path, names: Collection[str]) -> None:
    """Read each file of weights: whoever gets the package could not."""
    for name in dict.fromkeys(names):
        if name.endswith(".pt"):
            try:
                read_weights(root / name)
            except ValueError as error:
                raise UserError(str(error)) from error


def _refuse_other_configs(root: Path, content: Mapping[str, bytes]) -> None:
    """Every config is an object, with what the steps that follow are made of."""
    for name, data in content.items():
        if not _OBJECTS.fullmatch(name):
            continue
        config = _object(root / name, data)
        missing = [key for key in _NEEDED.get(name, ()) if key not in config]
        if missing:
            raise UserError(
                f"{root / name}: has no {' and no '.join(missing)}; `auto_config create` writes them, and `auto_config "
                f"verify {root}` says what else is missing"
            )


def _object(path: Path, data: bytes) -> dict[str, Any]:
    """The JSON object of a file, in which no key stands twice."""
    remedy = "repair the file; `auto_config create` writes it" if path.parent.name == "configs" else "train again"
    try:
        config, doubled = parsed(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no JSON ({error}); {remedy}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: must be a JSON object, it holds {kind_of(config)}; {remedy}")
    if doubled:
        raise UserError(f"{path}: has {', '.join(doubled)} twice in one object; keep one of each")
    return config


def _members(root: Path) -> Iterator[str]:
    """Weights of an ensemble, relative to the bundle."""
    path = root / "models" / "ensemble.json"
    if path.is_file():
        files = _object(path, path.read_bytes()).get("files")
        if not isinstance(files, list):
            raise UserError(f"{path}: has no list `files`; train again")
        yield from [f"models/{name}" for name in files]


def _without_places(name: str, data: bytes) -> bytes:
    """A config whose images lie nowhere."""
    if not _CONFIG.fullmatch(name):
        return data
    text = data.decode("utf-8")
    config = json.loads(text)
    if name == "configs/train.json" and (shared := without_pretrained(config)) is not config:
        config, text = shared, json_text(shared)
    given = config.get("dataset_dir")
    if not isinstance(given, str) or given.startswith(("$", "@")):
        return text.encode("utf-8")
    return text.replace(json.dumps(given, ensure_ascii=False), json.dumps(PLACE)).encode("utf-8")


def case_names(root: Path) -> set[str]:
    """Names of the cases of the bundle's data list."""
    path = root / "data" / "datalist.json"
    if not path.is_file():
        return set()
    lists = json.loads(path.read_text(encoding="utf-8"))
    items = [item for key in ("training", "test", "unlabelled") for item in lists.get(key, [])]
    return {str(item["case"]) for item in items if len(str(item.get("case", ""))) >= _SHORTEST_NAME}


def leaks(content: Mapping[str, bytes], names: Collection[str], places: Collection[str]) -> list[str]:
    """Where a name of a case or a place of the data still stands: ``file: text``.

    Args:
        content: files by their path.
        names: of cases; they are looked for as whole words.
        places: folders.
    """
    wanted = [re.escape(text) for text in sorted({*names, *places}, key=len, reverse=True)]
    if not wanted:
        return []
    pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(wanted)})(?![\w-])")
    found = []
    for name, data in content.items():
        # The scripts are the same in every bundle, weights and pictures hold numbers.
        if name.startswith("scripts/") or name.endswith((".pt", ".png", ".jpg")):
            continue
        match = pattern.search(data.decode("utf-8", errors="replace"))
        if match:
            found.append(f"{name}: {match[0]}")
    return found


def in_form_of_the_hook(content: Mapping[str, bytes]) -> dict[str, bytes]:
    """Each JSON file as the zoo's commit hook writes it.

    Args:
        content: files by their path.

    Raises:
        UserError: one of them is no JSON.
    """
    out = dict(content)
    for name, data in content.items():
        if name.endswith(".json"):
            try:
                out[name] = formed(data)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{name}: is no JSON ({error}); repair the file") from None
    return out


def large_files(
    content: Mapping[str, bytes], url: str, uploaded: Mapping[str, bytes]
) -> tuple[dict[str, bytes], list[str]]:
    """Take files above the zoo's limit out and list them in ``large_files.yml``.

    Args:
        content: files by their path.
        url: folder that they will be fetched from.
        uploaded: the same files as they lie in the bundle, from where they are uploaded.

    Returns:
        The content with the list, and the paths that were taken out.
    """
    large = [name for name, data in content.items() if is_large(len(data))]
    if not large:
        return dict(content), []
    lines = ["large_files:"]
    for name in large:
        lines += [
            f'- path: "{name}"',
            f'  url: "{url.rstrip("/")}/{name.removeprefix("models/").replace("/", "_")}"',
            f'  hash_val: "{hashlib.sha256(uploaded[name]).hexdigest()}"',
            '  hash_type: "sha256"',
        ]
    kept = {name: data for name, data in content.items() if name not in large}
    return {**kept, "large_files.yml": ("\n".join(lines) + "\n").encode("utf-8")}, large


def with_metadata(
    content: Mapping[str, bytes], changes: Mapping[str, Any], version: str | None, news: str
) -> dict[str, bytes]:
    """Change ``configs/metadata.json``.

    Args:
        content: files by their path.
        changes: texts by key, None for those that stay.
        version: new version; None for the one that is there.
        news: what is new in this version; empty if the change log stays.
    """
    name = "configs/metadata.json"
    metadata = json.loads(content[name])
    metadata.update({key: text for key, text in changes.items() if text is not None})
    if version is not None:
        metadata["version"] = version
    log = metadata.setdefault("changelog", {})
    if news or metadata["version"] not in log:
        metadata["changelog"] = {metadata["version"]: news or "a new version", **log}
    return {**content, name: json_text(metadata).encode("utf-8")}
