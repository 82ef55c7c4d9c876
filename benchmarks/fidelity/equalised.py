"""A copy of a converted data set of 8-bit pictures whose histograms are equalised, as Noothout et al. did for X-rays.

Whether a network learns more from them is what `accuracy.py` then says, of both, in the same time:

    python benchmarks/fidelity/equalised.py isbi_data isbi_equalised
    python benchmarks/accuracy.py isbi_equalised/datalist.json runs/equalised --own_split --time_budget 15m
    python benchmarks/accuracy.py isbi_data/datalist.json runs/plain --own_split --time_budget 15m
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from PIL import Image, ImageOps


def main() -> int:
    """Write the copy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder that `recipe` or `convert` wrote: datalist.json and images")
    parser.add_argument("out", type=Path, help="folder to write; must not exist")
    given = parser.parse_args()
    equalise(given.source, given.out)
    return 0


def equalise(source: Path, out: Path) -> None:
    """Write ``out`` with the data list of ``source`` and its pictures, each of (height, width) grey values of 8 bits.

    Raises:
        ValueError: A picture that is not grey with 8 bits.
    """
    listed = json.loads((source / "datalist.json").read_text(encoding="utf-8"))
    out.mkdir(parents=True)
    for case in [*listed["training"], *listed["test"]]:
        with Image.open(source / case["image"]) as picture:
            if picture.mode != "L":
                raise ValueError(f"{case['image']}: mode {picture.mode}, not grey with 8 bits (L)")
            size = picture.info.get("dpi")
            path = out / case["image"]
            path.parent.mkdir(parents=True, exist_ok=True)
            ImageOps.equalize(picture).save(path, **({"dpi": size} if size else {}))
    shutil.copyfile(source / "datalist.json", out / "datalist.json")


if __name__ == "__main__":
    sys.exit(main())
