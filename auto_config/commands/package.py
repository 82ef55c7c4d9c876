"""`package`: one zip of a trained bundle for others."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auto_config.bundle_scripts.landmark_files import atomic_write_text
from auto_config.commands.verify import findings_of
from auto_config.errors import UserError
from auto_config.packaging.card import data_section, performance, reliability, with_section
from auto_config.packaging.contents import case_names, large_files, leaks, shared_content, with_metadata
from auto_config.packaging.zoo_test import zoo_test

README = "docs/README.md"
_DATE = (1980, 1, 1, 0, 0, 0)
"""Of every file, so that the same bundle gives the same zip."""


def package(
    bundle: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    results: str | os.PathLike[str] | None = None,
    authors: str | None = None,
    copyright: str | None = None,
    data_source: str | None = None,
    data_license: str | None = None,
    version: str | None = None,
    changes: str | None = None,
    weights_url: str | None = None,
    overwrite: bool = False,
) -> int:
    """Write a zip with one folder, the bundle without data, and beside it a test in the zoo's style.

    Args:
        bundle: folder of a trained bundle; it is not changed.
        output: the zip.
        results: folder that `evaluate` wrote: its numbers go into ``docs/README.md``.
        authors: of the model.
        copyright: of the model.
        data_source: where the training data come from.
        data_license: of the training data.
        version: of the model, three numbers; that of the bundle if None.
        changes: what is new in this version.
        weights_url: folder that weights above 25 MB will be fetched from; they are left out of the zip then.
        overwrite: replace files that are there.

    Returns:
        Exit status.

    Raises:
        UserError: not a trained bundle, files in the way, results that are none, names of cases or places that would be
            handed on.
    """
    root, target = Path(bundle), Path(output)
    if not (root / "configs" / "metadata.json").is_file():
        raise UserError(f"{root}: is no bundle, it has no configs/metadata.json; give a folder that `create` wrote")
    if target.suffix != ".zip":
        raise UserError(f"{target}: the name of the output must end in .zip")
    name = root.resolve().name
    test = target.with_name(f"test_{name}.py")
    for path in (target, test):
        if path.exists() and not overwrite:
            raise UserError(f"{path}: exists already; give --overwrite to replace it, or another name")
    content = with_metadata(
        shared_content(root),
        {"authors": authors, "copyright": copyright, "data_source": data_source, "name": name},
        version,
        changes or "",
    )
    content[README] = _card(content, results, authors, data_source, data_license).encode("utf-8")
    if data_license:
        content["docs/data_license.txt"] = f"{data_license.strip()}\n".encode()
    _refuse_leaks(root, content)
    large: list[str] = []
    if weights_url:
        content, large = large_files(content, weights_url)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_zip(target, name, content)
    atomic_write_text(test, _test(name, content))
    for finding in _findings(name, content):
        print(finding)
    size = target.stat().st_size / 1e6
    print(f"{target}: {len(content)} files, {size:.1f} MB; {test}: a test for the zoo's ci/unit_tests")
    for file in large:
        print(f"upload {root / file} to {weights_url}; large_files.yml names it with its hash")
    if results is None:
        print("docs/README.md says nothing of accuracy: --results FOLDER takes the numbers that `evaluate` wrote")
    return 0


def _card(
    content: Mapping[str, bytes],
    results: str | os.PathLike[str] | None,
    authors: str | None,
    data_source: str | None,
    data_license: str | None,
) -> str:
    """``docs/README.md`` with what is known now."""
    text = (
        content[README].decode("utf-8")
        if README in content
        else f"# {json.loads(content['configs/metadata.json'])['name']}\n"
    )
    if authors:
        text = with_section(text, "Authors", authors, before="Model Description")
    text = data_section(text, data_source, data_license)
    if results is not None:
        text = with_section(text, "Performance", performance(_metrics(Path(results))), before="Usage")
    calibration = content.get("models/calibration.json")
    if calibration is not None:
        text = with_section(text, "Reliability", reliability(json.loads(calibration)), before="Usage")
    use = json.loads(content["configs/metadata.json"]).get("intended_use")
    if use:
        text = with_section(text, "Intended Use", use, before="Limitations")
    return text


def _metrics(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content["per_landmark"], content["cases"]["training"], content["unit"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: is not what `evaluate` writes ({error}); give --results the folder of an evaluation"
        ) from error
    return content


def _refuse_leaks(root: Path, content: Mapping[str, bytes]) -> None:
    datalist = root / "data" / "datalist.json"
    place = json.loads(datalist.read_text(encoding="utf-8")).get("dataset_dir") if datalist.is_file() else None
    places = [place] if isinstance(place, str) and len(Path(place).parts) > 1 else []
    found = leaks(content, case_names(root), [*places, str(Path.home())])
    if found:
        listed = "; ".join(found[:5])
        raise UserError(f"{root}: would hand on names of cases or places of data: {listed}; take them out there")


def write_zip(path: Path, name: str, content: Mapping[str, bytes]) -> None:
    """A zip with one folder, written whole or not at all.

    Args:
        path: of the zip.
        name: of the folder in it.
        content: files by their path in the folder.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in sorted(content):
                    entry = zipfile.ZipInfo(f"{name}/{file}", _DATE)
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, content[file], zipfile.ZIP_DEFLATED)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def _test(name: str, content: Mapping[str, bytes]) -> str:
    """The zoo's test, on images of the size of a patch and a half."""
    plan = json.loads(content["configs/inference.json"])
    image = json.loads(content["configs/metadata.json"])["network_data_format"]["inputs"]["image"]
    shape = [size + size // 2 for size in image["spatial_shape"]]
    return zoo_test(name, shape, list(plan["spacing"]), image["num_channels"])


def _findings(name: str, content: Mapping[str, bytes]) -> list[str]:
    """What the checks of files and metadata say of the package, without what is right."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / name
        for file, data in content.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(data)
        return [str(f) for f in findings_of(root, monai=False) if f.state in {"failed", "note"}]
