"""``docs/README.md`` of a bundle, in the order of the model zoo's template."""

from __future__ import annotations

import json
import re
from typing import Any

from auto_config.bundle.credits import UNSAID, Credits
from auto_config.bundle.metadata import references
from auto_config.methods.combining.of_plan import method_of
from auto_config.planning import Plan, Split

UNKNOWN_ACCURACY = "Nothing is known about its accuracy until it is trained and evaluated; see *Performance*.\n"
"""Stands in the page until there are numbers."""

NUMBERS_WANTED = "Put them here before you share the bundle."
"""Ends the section on accuracy until somebody writes one."""

ALWAYS_PREDICTED = (
    "A landmark is always predicted, also where it is not in the image, until a calibration learns presence."
)
"""One of the limits; bundles of earlier versions have it without its last part."""

_TEXT = """# {name}
{authors}
## Model Description
Finds {count} landmarks in {dims}D images: network `{network}`, method `{method}`, {stages}. Every choice and its
reason stand in `configs/plan.json`.
{unknown}
## Data
{training} training cases in {folds} folds, {test} test cases held out. `data/datalist.json` lists them; it stays with
whoever made this bundle.
{data}
## Performance
In the folder above this bundle, these give the errors on the test cases, beside those of always predicting the mean
shape:
```
auto_config predict {name} {name}/data/datalist.json test_results
auto_config evaluate test_results {name}/data/datalist.json --split test
```
{wanted}

## Atlas
`atlas/atlas.json` says what each landmark is and where it lies in the mean shape of the training cases. Definitions may
be edited there, or given in the `landmarks.json` of the data. `atlas/*.png` are drawn from that shape alone; pictures
of a case are there only if `create --atlas` was asked for them, and are not packaged without `--with_atlas`.

## Usage
Inside the bundle's folder, or from anywhere with `--bundle_root FOLDER`:
```
python -m monai.bundle run training --config_file configs/train.json
python -m monai.bundle run evaluating --config_file "['configs/train.json','configs/evaluate.json']"
python -m monai.bundle run --config_file configs/inference.json --dataset_dir /path/to/images
torchrun --nproc_per_node=2 -m monai.bundle run training \\
    --config_file "['configs/train.json','configs/multi_gpu_train.json']"
```
Any name at the top of a config can be set on the command line, such as `--fold 1`, `--batch_size 4`, `--split test`
(evaluating) or `--train#trainer#max_epochs 20`.
`auto_config train FOLDER --time_budget 15m` fits the whole schedule to a time.

{results}

## System Configuration
Python packages and their versions are in `configs/metadata.json`.

## Limitations
`python -m monai.bundle ckpt_export` and `onnx_export` export the last stage alone; its input is a patch of the planned
grid{output}. What finds crops, decodes and calibrates stays in `scripts/`.
Research only. {always}
Images unlike the training images give wrong points.

## Decisions
{decisions}

## Citation
{citation}.
"""


_RESULTS = {
    3: "Results are points in world millimetres: `CASE.mrk.json` for 3D Slicer (LPS) and `predictions.csv` (RAS).",
    2: "Results are points with x to the right and y down from the centre of the first pixel: `predictions.csv` in\n"
    "pixels and, where the size of a pixel is known, in millimetres; `CASE.mrk.json` for 3D Slicer. `pixel_spacing`\n"
    "in `configs/inference.json` is the size that pictures are read with, in mm; null takes that of each file.",
}


_MILLIMETRES = re.compile(r"(?<=\d) mm\b")
_IN_PIXELS = """The size of a pixel is not known: every length here and in the configs is in pixels, also where its name
ends in `_mm`. `--pixel_spacing` of `auto_config create` gives the size.
"""


def readme(name: str, plan: Plan, landmarks: dict[str, Any], split: Split, credits: Credits = UNSAID) -> str:
    """The text.

    Args:
        name: of the bundle.
        plan: all decisions.
        landmarks: content of ``configs/landmarks.json``.
        split: which case is where; only counts are told.
        credits: who made it of which data.
    """
    in_pixels = plan.value("unit") == "px"
    rows = [
        f"- **{key}** `{json.dumps(decision.value, ensure_ascii=False)}`: "
        + (_MILLIMETRES.sub(" px", decision.reason) if in_pixels else decision.reason)
        for key, decision in plan.decisions.items()
    ]
    if in_pixels:
        rows.insert(0, _IN_PIXELS)
    stages = len(plan.value("stages"))
    return _TEXT.format(
        unknown=UNKNOWN_ACCURACY,
        wanted=NUMBERS_WANTED,
        always=ALWAYS_PREDICTED,
        authors=credits.of_authors(),
        data=credits.of_data(),
        name=name,
        count=len(landmarks["landmarks"]),
        dims=plan.value("spatial_dims"),
        results=_RESULTS[plan.value("spatial_dims")],
        network=plan.value("network"),
        method=plan.value("method"),
        citation="; ".join((*references(plan), "Cardoso et al., MONAI, arXiv 2211.02701")),
        stages="one stage" if stages == 1 else "coarse to fine in two stages",
        training=len(split.folds),
        folds=len(set(split.folds.values())),
        test=len(split.test),
        output=_exported_output(plan),
        decisions="\n".join(rows),
    )


def _exported_output(plan: Plan) -> str:
    """What the export of a network with several heads leaves out."""
    heads = method_of(plan).parts(plan, plan.stage("fine")).heads
    return "" if len(heads) == 1 else f", its output the first of its heads ({', '.join(heads)})"
