"""The zip of a bundle, its card, and the test that lies beside it."""

from __future__ import annotations

import json
import math
import os
import tempfile
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from auto_config.bundle.atlas.document import DOCUMENT, case_pictures
from auto_config.bundle.documentation import UNKNOWN_ACCURACY
from auto_config.bundle_scripts.files.atomic import written_whole
from auto_config.errors import UserError
from auto_config.packaging.card import (
    atlas_section,
    data_section,
    performance,
    reliability,
    robustness,
    with_presence,
    with_section,
)
from auto_config.packaging.contents import case_names, leaks
from auto_config.packaging.zoo_test import zoo_test
from auto_config.verification.checks import findings_of
from auto_config.verification.finding import Finding

README = "docs/README.md"
_SHORT = 2
"""Parts of a path such as /data, counting the root."""
_DATE = (1980, 1, 1, 0, 0, 0)
"""Of every file, so that the same bundle gives the same zip."""


def card_of(
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
    if DOCUMENT in content:
        atlas = atlas_section(json.loads(content[DOCUMENT]), len(case_pictures(content)))
        text = with_section(text, "Atlas", atlas, before="Usage")
    if results is not None:
        text = text.replace(UNKNOWN_ACCURACY, "")
        text = with_section(text, "Performance", performance(_metrics(Path(results))), before="Usage")
    calibration = content.get("models/calibration.json")
    if calibration is not None:
        numbers = json.loads(calibration)
        text = with_section(with_presence(text, numbers), "Reliability", reliability(numbers), before="Usage")
        spoiled = robustness(numbers)
        if spoiled is not None:
            text = with_section(text, "Robustness", spoiled, before="Usage")
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


def refuse_leaks(root: Path, content: Mapping[str, bytes], allowed: Collection[str] = ()) -> None:
    """Stop where a name of a case or a place of the data would be handed on.

    Args:
        root: folder of the bundle, whose data list names the cases.
        content: files by their path in the package.
        allowed: names that are words as well, such as that of a case called ``image``.

    Raises:
        UserError: one is found.
    """
    datalist = root / "data" / "datalist.json"
    place = json.loads(datalist.read_text(encoding="utf-8")).get("dataset_dir") if datalist.is_file() else None
    # A place as short as /data says nothing of anybody, and stands in every bundle.
    places = [one for one in (place, str(Path.home())) if isinstance(one, str) and len(Path(one).parts) > _SHORT]
    found = leaks(content, case_names(root) - set(allowed), places)
    if found:
        raise UserError(
            f"{root}: would hand on names of cases or places of data: {'; '.join(found[:5])}; take them out there, or "
            "give --allow NAME for a name that is only a word"
        )


def write_zip(path: Path, name: str, content: Mapping[str, bytes]) -> None:
    """A zip with one folder, written whole or not at all.

    Args:
        path: of the zip.
        name: of the folder in it.
        content: files by their path in the folder.
    """
    with written_whole(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(content):
            entry = zipfile.ZipInfo(f"{name}/{file}", _DATE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content[file], zipfile.ZIP_DEFLATED)


def test_of(name: str, content: Mapping[str, bytes]) -> str:
    """The zoo's test, on images of the size of a patch and a half.

    Raises:
        UserError: metadata.json does not say what the network takes.
    """
    config = json.loads(content["configs/inference.json"])
    try:
        image = json.loads(content["configs/metadata.json"])["network_data_format"]["inputs"]["image"]
        image["spatial_shape"], image["num_channels"]
    except (KeyError, TypeError):
        raise UserError(
            f"{name}: configs/metadata.json has no network_data_format#inputs#image with spatial_shape and "
            "num_channels; `auto_config create` writes it"
        ) from None
    planned = config["spacing"]
    # Pictures say nothing of the size of their pixels: it is that of the bundle.
    own = config.get("pixel_spacing") or planned
    shape = [math.ceil(1.5 * size * a / b) for size, a, b in zip(image["spatial_shape"], planned, own, strict=True)]
    return zoo_test(name, shape, list(own), image["num_channels"])


def findings_in(name: str, content: Mapping[str, bytes]) -> list[Finding]:
    """What the checks of files and metadata say of the package, without what is right."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / name
        for file, data in content.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(data)
        return [f for f in findings_of(root, monai=False) if f.state in {"failed", "note"}]
