"""``configs/metadata.json`` against the specification of MONAI bundles and the habits of the zoo.

The official schema is fetched by MONAI from the network and is not part of this package: what is checked here are the
rules of the specification's text (https://monai.readthedocs.io/en/stable/mb_specification.html). A copy of the schema
is used as well where one is given and `jsonschema` is installed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from auto_config.bundle.metadata import SCHEMA
from auto_config.verification.finding import Finding, passed
from auto_config.wording import install_line

_TEXTS = ("version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors", "copyright")
_TENSOR = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def")
_SEMVER = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.-]+)?")
_PIN = re.compile(r"\d+(?:\.\d+)*(?:(?:a|b|rc|\.post|\.dev)\d+)*")
_PLACEHOLDERS = {"authors": "made with landmark-bundles", "copyright": "of whoever trained it"}
_FILE = "configs/metadata.json"


def check_metadata(root: Path, schema: Path | None = None) -> list[Finding]:
    """Required keys, version, pins, shapes of tensors.

    Args:
        root: folder of the bundle.
        schema: a copy of the schema that ``schema`` of the metadata names.
    """
    path = root / _FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []  # said by `check_files`
    if not isinstance(content, dict):
        return []
    return [
        _keys(content),
        _version(content),
        _pins(content),
        _installed(content),
        *_tensors(content),
        _apps(content),
        _names(content, root),
        _placeholders(content),
        _schema(content, schema),
    ]


def _keys(content: Mapping[str, Any]) -> Finding:
    what = "metadata: required keys"
    missing = [key for key in _TEXTS if not isinstance(content.get(key), str) or not content[key]]
    missing += [
        key for key in ("required_packages_version", "network_data_format") if not isinstance(content.get(key), dict)
    ]
    if missing:
        return Finding(what, "failed", f"missing or empty: {', '.join(missing)}", f"add them to {_FILE}")
    return passed(what)


def _version(content: Mapping[str, Any]) -> Finding:
    what = "metadata: version and changelog"
    given = content.get("version")
    if not isinstance(given, str) or not _SEMVER.fullmatch(given):
        return Finding(what, "failed", f"version is {given!r}", "three numbers, as in 0.1.0")
    changes = content.get("changelog")
    if not isinstance(changes, dict) or given not in changes:
        return Finding(what, "failed", f"changelog says nothing of {given}", f'add "{given}": "what is new" to it')
    return passed(what)


def _pins(content: Mapping[str, Any]) -> Finding:
    what = "metadata: exact versions of packages"
    odd = [f"{name} {text!r}" for name, text in _packages(content).items() if not _PIN.fullmatch(str(text))]
    if odd:
        remedy = "the zoo installs exactly these: a plain version that the package index has, no range and no +cpu"
        return Finding(what, "failed", ", ".join(odd), remedy)
    return passed(what)


def _packages(content: Mapping[str, Any]) -> dict[str, Any]:
    """All pinned distributions with their versions."""
    required = content.get("required_packages_version")
    named = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    return {
        **{package: content[key] for package, key in named.items() if key in content},
        **(required if isinstance(required, dict) else {}),
    }


def _installed(content: Mapping[str, Any]) -> Finding:
    """Checks hold for what they ran with, so a difference is said."""
    what = "checked with the versions that metadata names"
    other = []
    for package, wanted in _packages(content).items():
        try:
            here = version(package).split("+")[0]
        except PackageNotFoundError:
            here = "none"
        if here != str(wanted):
            other.append(f"{package} {here} in place of {wanted}")
    if other:
        return Finding(what, "note", ", ".join(other), "the zoo's checks would install the versions of the metadata")
    return passed(what)


def _tensors(content: Mapping[str, Any]) -> Iterator[Finding]:
    formats = content.get("network_data_format")
    formats = formats if isinstance(formats, dict) else {}
    for kind, name in (("inputs", "image"), ("outputs", "pred")):
        what = f"metadata: network_data_format {kind} {name}"
        group = formats.get(kind)
        tensor = group.get(name) if isinstance(group, dict) else None
        if not isinstance(tensor, dict):
            yield Finding(what, "failed", "is missing", "MONAI's commands look for exactly this name")
            continue
        missing = [key for key in _TENSOR if key not in tensor]
        shape = tensor.get("spatial_shape")
        channels = tensor.get("num_channels")
        if missing:
            yield Finding(what, "failed", f"missing: {', '.join(missing)}", f"add them to {_FILE}")
        elif not isinstance(shape, list) or not all(isinstance(size, int) and size > 0 for size in shape):
            remedy = "write the size of the patch in voxels: the checks replace * and n by 1"
            yield Finding(what, "failed", f"spatial_shape is {shape!r}", remedy)
        elif not isinstance(channels, int) or channels < 1:
            yield Finding(what, "failed", f"num_channels is {channels!r}", "a whole number")
        else:
            yield passed(what)


def _apps(content: Mapping[str, Any]) -> Finding:
    """Programs that use the bundle, each with its version, which may be empty; the zoo's schema has texts alone."""
    what = "metadata: supported_apps"
    apps = content.get("supported_apps", {})
    remedy = f'write names with versions into {_FILE}, as in {{"monai-label": "0.8.5"}}, or take supported_apps out'
    if not isinstance(apps, dict):
        return Finding(what, "failed", f"must be an object of texts, it is {json.dumps(apps)[:60]}", remedy)
    odd = [name for name, text in apps.items() if not name or not isinstance(text, str)]
    if odd:
        said = ", ".join(f"{json.dumps(name)}: {json.dumps(apps[name])[:60]}" for name in odd)
        return Finding(what, "failed", f"names and versions must be texts, not {said}", remedy)
    return passed(what)


def _names(content: Mapping[str, Any], root: Path) -> Finding:
    what = "metadata: name"
    if content.get("name") == root.resolve().name:
        return passed(what)
    problem = f"the metadata says {content.get('name')!r}, the folder is called {root.resolve().name!r}"
    return Finding(what, "note", problem, "give both the same name")


def _placeholders(content: Mapping[str, Any]) -> Finding:
    what = "metadata: authors and copyright"
    left = [key for key, text in _PLACEHOLDERS.items() if content.get(key) == text]
    if left:
        return Finding(what, "note", f"still placeholders: {', '.join(left)}", f"write who made it into {_FILE}")
    return passed(what)


def _schema(content: Mapping[str, Any], copy: Path | None) -> Finding:
    what = "metadata: schema"
    if not isinstance(content.get("schema"), str):
        return Finding(what, "failed", "names no schema", f'add "schema": "{SCHEMA}"')
    if copy is None:
        return Finding(what, "not checked", "MONAI fetches it from the network", f"--schema FILE: {content['schema']}")
    try:
        import jsonschema
    except ImportError:
        return Finding(what, "not checked", "the package jsonschema is not installed", install_line("jsonschema"))
    try:
        jsonschema.validate(content, json.loads(copy.read_text(encoding="utf-8")))
    except (jsonschema.ValidationError, jsonschema.SchemaError) as error:
        where = "/".join(str(part) for part in error.absolute_path)
        return Finding(what, "failed", f"{where}: {error.message}" if where else error.message, f"repair {_FILE}")
    return passed(what)
