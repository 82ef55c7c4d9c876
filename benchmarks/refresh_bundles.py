"""Bring code and configs of bundles/* up to date with the tool; weights, landmarks and descriptions stay.

python benchmarks/refresh_bundles.py bundles
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from auto_config.bundle.atlas.document import DOCUMENT, atlas_files, with_case_pictures
from auto_config.bundle.json_text import json_text
from auto_config.bundle.reached import copy_scripts
from auto_config.bundle.writer import config_files
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.fingerprint.summary import Fingerprint
from auto_config.planning import Plan, PlanOptions, make_plan
from auto_config.public_datasets.afids import DESCRIPTIONS

SAID = ("description", "version", "changelog", "authors", "copyright", "data_source")
"""What people wrote into metadata.json."""
DEFINED = {"brain_mri_afids32_demo": DESCRIPTIONS}
"""By bundle, the definitions of its landmarks that are kept in the code; those of others stand in their atlas alone."""


def main() -> int:
    """Refresh every bundle of a folder."""
    for bundle in sorted(path.parent.parent for path in Path(sys.argv[1]).glob("*/configs/plan.json")):
        kept, train, meta, landmarks = (
            json.loads((bundle / "configs" / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("plan", "train", "metadata", "landmarks")
        )
        decided = Plan.from_dict(kept["decisions"])
        split = {name: decided.decisions[name] for name in ("test", "folds")}
        fingerprint = Fingerprint.from_dict(kept["fingerprint"])
        parts = decided.value("parts") if "parts" in decided.decisions else {}
        options = PlanOptions(method=decided.value("method"), network=decided.value("network"), **parts)
        plan = make_plan(fingerprint, options, split)
        files = config_files(
            bundle.name,
            plan,
            landmarks,
            cases=fingerprint.cases,
            dataset_dir=train["dataset_dir"],
            seed=train["seed"],
        )
        files["configs/metadata.json"].update({key: meta[key] for key in SAID if key in meta})
        files["configs/plan.json"] = {"fingerprint": fingerprint.to_dict(), "decisions": plan.to_dict()}
        for name, content in files.items():
            atomic_write_text(bundle / name, json_text(content))
        for name, data in _atlas(bundle, landmarks, upright=decided.value("pose")["kind"] == "upright").items():
            (bundle / name).parent.mkdir(exist_ok=True)
            (bundle / name).write_bytes(data)
        shutil.rmtree(bundle / "scripts")
        copy_scripts(files, bundle / "scripts")
        print(f"{bundle}: up to date")
    return 0


def _atlas(bundle: Path, landmarks: dict[str, Any], *, upright: bool) -> dict[str, bytes]:
    """The atlas drawn anew from the mean shape, with its definitions and the slices of a case that are there."""
    place, judged = bundle / DOCUMENT, bundle / "configs" / "verdict.json"
    rows = json.loads(place.read_text(encoding="utf-8"))["landmarks"] if place.is_file() else []
    verdict = json.loads(judged.read_text(encoding="utf-8")) if judged.is_file() else None
    definitions = DEFINED.get(bundle.name) or {row["name"]: row["definition"] for row in rows}
    files = atlas_files(landmarks, verdict, definitions, upright=upright)
    return with_case_pictures(files, {row["name"]: row["pictures"] for row in rows})


if __name__ == "__main__":
    sys.exit(main())
