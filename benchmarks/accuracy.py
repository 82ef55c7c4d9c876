"""The whole way by command on a real data set: create, train, predict the test cases, evaluate; prints the numbers.

Example, the numbers of docs/performance.md:
    python benchmarks/accuracy.py mouse_skull_ct runs/mouse_15m --every 5 --tests 8 --time_budget 15m
    python benchmarks/accuracy.py mouse_skull_xray runs/xray_10m --time_budget 10m --pixel_spacing 0.05
    python benchmarks/accuracy.py isbi2015_converted runs/isbi_60m --own_split --time_budget 60m
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from auto_config.bundle_scripts.images.files import case_name


def main() -> int:
    """Run it; exit status of the first command that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="data set with images/ and landmarks/")
    parser.add_argument("out", type=Path, help="folder for the bundle and the predictions; must not exist")
    parser.add_argument("--every", type=int, default=5, help="every n-th case by name is a test case ...")
    parser.add_argument("--tests", type=int, default=8, help="... up to this number")
    parser.add_argument("--own_split", action="store_true", help="the test cases are those that the data set declares")
    parser.add_argument("--time_budget", default="15m")
    parser.add_argument("--fold", default="0", help="a fold, all or none")
    parser.add_argument("--pixel_spacing", help="mm of a pixel of pictures")
    parser.add_argument("--set", action="append", default=[], help="value in configs/train.json: loss#fraction=0.1")
    parser.add_argument("--create", nargs=argparse.REMAINDER, default=[], help="further options of create, last")
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    tests, chosen = [], []
    if not given.own_split:
        tests = sorted((given.source / "images").iterdir())[:: given.every][: given.tests]
        names = given.out / "test_cases.txt"
        names.write_text("\n".join(map(case_name, tests)) + "\n", encoding="utf-8")
        chosen = ["--test", names]
    pixels = [] if given.pixel_spacing is None else ["--pixel_spacing", given.pixel_spacing]
    bundle, predictions = given.out / "bundle", given.out / "predictions"
    times = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in tests:
            (Path(folder) / path.name).symlink_to(path.resolve())
        images = bundle / "data" / "datalist.json" if given.own_split else folder
        for name, arguments in {
            "create": ["create", given.source, bundle, *chosen, *pixels, *given.create],
            "train": ["train", bundle, "--time_budget", given.time_budget, "--fold", given.fold],
            "predict": ["predict", bundle, images, predictions],
            "evaluate": ["evaluate", predictions, given.source, *pixels],
        }.items():
            start = time.perf_counter()
            done = subprocess.run([sys.executable, "-m", "auto_config", *map(str, arguments)], check=False)
            times[name] = round(time.perf_counter() - start, 1)
            if done.returncode:
                return done.returncode
            if name == "create":
                change(bundle / "configs" / "train.json", given.set)
    metrics = json.loads((predictions / "metrics.json").read_text(encoding="utf-8"))
    error = f"mre_{metrics['unit']}"
    print(json.dumps({"seconds": times, error: metrics[error], "baseline": metrics["mean_shape_baseline"]}, indent=1))
    return 0


def change(config: Path, values: list[str]) -> None:
    """Set ``ID=VALUE`` in a config: an id as MONAI writes it, which must be there, and a value in JSON.

    One number in the place of a list stands for each of its values, as the radius along each axis.

    Raises:
        KeyError: An id that the config does not have.
    """
    whole = json.loads(config.read_text(encoding="utf-8"))
    for given in values:
        path, _, value = given.partition("=")
        *way, last = path.split("#")
        part = whole
        for key in way:
            part = part[key]
        new, old = json.loads(value), part[last]
        part[last] = [new] * len(old) if isinstance(old, list) and not isinstance(new, list) else new
    config.write_text(json.dumps(whole, indent=4) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
