"""Bring code and configs of bundles/* up to date with the tool; weights, landmarks and descriptions stay.

python benchmarks/refresh_bundles.py bundles
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from auto_config.bundle.json_text import json_text
from auto_config.bundle.reached import copy_scripts
from auto_config.bundle.writer import config_files
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.fingerprint.summary import Fingerprint
from auto_config.planning import Plan, PlanOptions, make_plan


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
        files["configs/metadata.json"]["description"] = meta["description"]
        files["configs/plan.json"] = {"fingerprint": fingerprint.to_dict(), "decisions": plan.to_dict()}
        for name, content in files.items():
            atomic_write_text(bundle / name, json_text(content))
        shutil.rmtree(bundle / "scripts")
        copy_scripts(files, bundle / "scripts")
        print(f"{bundle}: up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
