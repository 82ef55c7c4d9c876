"""A small valid data set in each format that is read, and what reading it must give also where it is spoiled."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

CASES = ("ann", "ben")
SHAPE = (8, 9, 10)
POINTS = {"AC": [1.0, 2.0, 3.0], "PC, left": [3.0, -2.0, 1.0]}
PIXELS = {"AC": [3.0, 4.5], "PC, left": [6.0, 2.0]}
NAMES = list(POINTS)


def volumes(folder: Path, pattern: str = "{}.nii.gz") -> None:
    """Two small volumes."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -np.array(SHAPE) / 2
    for case in CASES:
        path = folder / pattern.format(case)
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE), affine), path)


def pictures(folder: Path) -> None:
    """Two small pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        Image.fromarray(np.arange(120, dtype=np.uint8).reshape(10, 12)).save(folder / f"{case}.png")


def _text(path: Path, content: str | dict[str, Any] | list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def _markups(root: Path) -> list[Path]:
    volumes(root / "images")
    points = [
        {"label": name, "position": [-x, -y, z], "positionStatus": "defined"} for name, (x, y, z) in POINTS.items()
    ]
    line = {"type": "Line", "name": "TCD", "coordinateSystem": "RAS", "controlPoints": points}
    nodes = [
        {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points},
        line | {"controlPoints": [{**point, "label": f"L-{i}"} for i, point in enumerate(points)]},
        {"type": "ROI", "name": "box", "center": [1, 2, 3]},
    ]
    return [_text(root / "landmarks" / f"{case}.mrk.json", {"markups": nodes}) for case in CASES]


def _fcsv(root: Path) -> list[Path]:
    volumes(root / "images")
    head = (
        "# Markups fiducial file version = 5.0\n# CoordinateSystem = LPS\n"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    )
    lines = "".join(
        f'{i},{-x},{-y},{z},0,0,0,1,1,1,0,"{name}",,,2,0\n' for i, (name, (x, y, z)) in enumerate(POINTS.items())
    )
    return [_text(root / "landmarks" / f"{case}.fcsv", head + lines) for case in CASES]


def _inline(root: Path) -> list[Path]:
    volumes(root / "images")
    return [
        _text(root / "landmarks" / f"{case}.json", {**POINTS, "gone": "absent", "all": [[1, 1, 1], [2, 2, 2]]})
        for case in CASES
    ]


def _long(root: Path) -> list[Path]:
    volumes(root / "images")
    lines = [f'{case},"{name}",{x},{y},{z},present,training,0' for case in CASES for name, (x, y, z) in POINTS.items()]
    return [
        _text(
            root / "points.csv",
            "\n".join(["case,landmark,x_ras_mm,y_ras_mm,z_ras_mm,status,split,fold", *lines]) + "\n",
        )
    ]


def _wide(root: Path) -> list[Path]:
    volumes(root / "images")
    head = ",".join(f'"{name}_{axis}_voxel"' for name in NAMES for axis in "xyz")
    lines = [f"{case}\t1\t2\t3\t4\t5\t6" for case in CASES]
    return [_text(root / "points.tsv", "\n".join(["case\t" + head.replace('","', '"\t"'), *lines]) + "\n")]


def _datalist(root: Path) -> list[Path]:
    volumes(root / "images")
    items = [
        {
            "image": f"images/{case}.nii.gz",
            "label": POINTS,
            "case": case,
            "fold": 0,
            "group": "g",
            "raters": {"r": POINTS},
        }
        for case in CASES
    ]
    rows = [{"name": name} for name in NAMES]
    properties = {"landmarks": rows, "measures": [{"name": "d", "kind": "distance", "landmarks": NAMES}]}
    document = {"landmarks": NAMES, "properties": properties, "training": items[:1], "test": items[1:]}
    return [_text(root / "datalist.json", document)]


def _label_map(path: Path) -> None:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    labels[5, 5, 5] = 2
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels, np.eye(4)), path)


def _labelmap(root: Path) -> list[Path]:
    volumes(root / "images")
    for case in CASES:
        _label_map(root / "labels" / f"{case}.nii.gz")
    names = {"labels": {"background": 0, "AC": 1, "PC, left": 2, "third": 3}, "status": {}}
    names["status"] = {case: {"third": "absent"} for case in CASES}
    return [_text(root / "labels.json", names), *(root / "labels" / f"{case}.nii.gz" for case in CASES)]


def _nnlandmark(root: Path) -> list[Path]:
    volumes(root / "imagesTr", "{}_0000.nii.gz")
    for case in CASES:
        _label_map(root / "labelsTr" / f"{case}.nii.gz")
    labels = {"background": 0, "AC": 1, "PC, left": 2}
    dataset = {"channel_names": {"0": "MR"}, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz", "status": {}}
    points = {case: {"AC": [1, 2, 3], "PC, left": [4.5, 5, 6]} for case in CASES}
    splits = [{"train": ["ann"], "val": ["ben"]}, {"train": ["ben"], "val": ["ann"]}]
    return [
        _text(root / "dataset.json", dataset),
        _text(root / "all_landmarks_voxel.json", points),
        _text(root / "splits_final.json", splits),
    ]


def _labelme(root: Path) -> list[Path]:
    pictures(root)
    shapes = [{"label": name, "points": [xy], "shape_type": "point", "flags": {}} for name, xy in PIXELS.items()]
    return [
        _text(
            root / f"{case}.json",
            {"version": "5.0.0", "flags": {"absent: gone": True}, "shapes": shapes, "imagePath": f"{case}.png"},
        )
        for case in CASES
    ]


def _coco(root: Path) -> list[Path]:
    pictures(root / "images")
    keypoints = [number for x, y in PIXELS.values() for number in (x, y, 2)]
    document = {
        "images": [{"id": i, "file_name": f"{case}.png", "split": "training"} for i, case in enumerate(CASES)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "keypoints": keypoints, "absent": []} for i in range(len(CASES))
        ],
        "categories": [{"id": 1, "name": "head", "keypoints": NAMES}],
    }
    return [_text(root / "coco.json", document)]


def _bids(root: Path) -> list[Path]:
    head = "# CoordinateSystem = 0\n# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    lines = "".join(
        f'{i},{x},{y},{z},0,0,0,1,1,1,0,{i},"{name}",\n' for i, (name, (x, y, z)) in enumerate(POINTS.items(), start=1)
    )
    files = []
    for case in CASES:
        volumes(root / f"sub-{case}" / "anat", "{}.nii.gz")
        for other in CASES:
            path = root / f"sub-{case}" / "anat" / f"{other}.nii.gz"
            if other == case:
                path.rename(path.with_name(f"sub-{case}_T1w.nii.gz"))
            else:
                path.unlink()
        for folder, what in (("afids_groundtruth", "groundtruth"), ("afids_rater", "rater01")):
            name = f"sub-{case}_space-T1w_desc-{what}_afids.fcsv"
            files.append(_text(root / "derivatives" / folder / f"sub-{case}" / "anat" / name, head + lines))
    return files


def _isbi(root: Path) -> list[Path]:
    pictures(root / "images")
    lines = "".join(f"{x},{y}\n" for x, y in PIXELS.values()) + "1\n2\n"
    return [_text(root / "points" / f"{case}.txt", lines) for case in CASES]


def _payer(root: Path) -> list[Path]:
    pictures(root / "images")
    numbers = ",".join(f"{x},{y}" for x, y in PIXELS.values())
    return [_text(root / "all.csv", "".join(f"{case},{numbers}\n" for case in CASES))]


def _pts(root: Path) -> list[Path]:
    pictures(root / "images")
    lines = "".join(f"{x + 1} {y + 1}\n" for x, y in PIXELS.values())
    return [_text(root / "landmarks" / f"{case}.pts", f"version: 1\nn_points: 2\n{{\n{lines}}}\n") for case in CASES]


def _tps(root: Path) -> list[Path]:
    pictures(root)
    points = "".join(f"{x} {10 - y}\n" for x, y in PIXELS.values())
    specimens = [f"LM=3\n{points}NA NA\nIMAGE={case}.png\nID={number}\n" for number, case in enumerate(CASES)]
    return [_text(root / "all.tps", "".join(specimens))]


def _verse(root: Path) -> list[Path]:
    volumes(root / "rawdata")
    centroids = [{"direction": ["R", "A", "S"]}, {"label": 20, "X": 5.0, "Y": 6.5, "Z": 8.0}]
    centroids.append({"label": 19, "X": 1.0, "Y": 2.0, "Z": 3.0})
    return [_text(root / "derivatives" / f"{case}_seg-subreg_ctd.json", centroids) for case in CASES]


def _grand_challenge(root: Path) -> list[Path]:
    volumes(root / "images")
    points = [{"name": name, "point": [-x, -y, z], "probability": 1.0} for name, (x, y, z) in POINTS.items()]
    document = {"name": "n", "type": "Multiple points", "points": points, "version": {"major": 1, "minor": 0}}
    return [_text(root / "landmarks" / f"{case}.json", document) for case in CASES]


def _label_studio(root: Path) -> list[Path]:
    pictures(root / "images")
    results = [
        {
            "type": "keypointlabels",
            "original_width": 12,
            "original_height": 10,
            "image_rotation": 0,
            "value": {"x": (x + 0.5) / 12 * 100, "y": (y + 0.5) * 10, "width": 0.5, "keypointlabels": [name]},
        }
        for name, (x, y) in PIXELS.items()
    ]
    tasks = [
        {
            "id": number,
            "annotations": [{"id": number, "was_cancelled": False, "result": results}],
            "file_upload": f"ab12cd34-{case}.png",
            "data": {"image": f"/data/upload/1/ab12cd34-{case}.png"},
        }
        for number, case in enumerate(CASES)
    ]
    return [_text(root / "project.json", tasks)]


def _cvat(root: Path) -> list[Path]:
    pictures(root / "images")
    (a, b), (c, d) = PIXELS.values()
    shapes = (
        f'<points label="AC" occluded="0" points="{a},{b}"></points><skeleton label="head">'
        f'<points label="PC, left" outside="0" points="{c},{d}"/>'
        '<points label="eye" outside="1" points="0,0"/></skeleton>'
    )
    images = "".join(
        f'<image id="{number}" name="{case}.png" width="12" height="10">{shapes}</image>'
        for number, case in enumerate(CASES)
    )
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta/>'
    return [_text(root / "annotations.xml", f"{head}{images}</annotations>\n")]


def _declared(root: Path) -> list[Path]:
    _inline(root)
    rows = [{"name": "AC", "pair": "PC, left"}, {"name": "PC, left"}, {"name": "gone"}]
    rows.append({"name": "all", "instances": "many", "description": "d"})
    document = {"landmarks": rows, "measures": [], "notes": ["n"], "pixel_spacing": None}
    return [
        _text(root / "landmarks.json", document),
        _text(root / "cases.csv", "case,split,fold,group\nann,test,,p\nben,training,1,\n"),
    ]


EXAMPLES: dict[str, tuple[str | None, Callable[[Path], list[Path]]]] = {
    "markups": ("markups", _markups),
    "fcsv": ("fcsv", _fcsv),
    "json": ("json", _inline),
    "csv": ("csv", _long),
    "csv_wide": ("csv", _wide),
    "datalist": ("datalist", _datalist),
    "labelmap": ("labelmap", _labelmap),
    "nnlandmark": ("nnlandmark", _nnlandmark),
    "labelme": ("labelme", _labelme),
    "coco": ("coco", _coco),
    "bids_afids": ("bids_afids", _bids),
    "isbi_txt": ("isbi_txt", _isbi),
    "payer_csv": ("payer_csv", _payer),
    "pts": ("pts", _pts),
    "tps": ("tps", _tps),
    "verse": ("verse", _verse),
    "grand_challenge": ("grand_challenge", _grand_challenge),
    "label_studio": ("label_studio", _label_studio),
    "cvat": ("cvat", _cvat),
    "landmarks_json_and_cases_csv": ("json", _declared),
}
"""Name of a parser to the format that is forced, and to what writes a data set and says which files to spoil."""


def outcome(root: Path, forced: str | None, spoiled: bytes) -> str:
    """Read a spoiled data set; what came of it, after checking that nothing is lost without a word.

    Args:
        root: The data set.
        forced: Its format.
        spoiled: Content of the file that was changed.

    Returns:
        ``"read"``, ``"problems"`` or ``"error"``.

    Raises:
        AssertionError: A message of several lines, or a case that disappears without being named.
    """
    from auto_config.datasets import read_dataset
    from auto_config.errors import UserError

    try:
        dataset, problems = read_dataset(root, format=forced)
    except UserError as error:
        assert str(error).strip(), "an empty message"
        assert len(str(error).splitlines()) == 1, f"several lines: {str(error)[:300]!r}"
        return "error"
    for problem in problems:
        assert len(problem.message.splitlines()) == 1, f"several lines: {problem.message[:300]!r}"
    # A case that has another name now is not lost: its image is there.
    read = {name for case in dataset.cases for name in (case.name, *(path.name for path in case.image))}
    said = " ".join([*(problem.message for problem in problems), *(problem.case or "" for problem in problems)])
    lost = [
        case
        for case in CASES
        # A list that no longer names a case does not lose it.
        if not any(case in name for name in read)
        and re.search(rb"\b%s\b" % case.encode(), spoiled)
        and case not in said
        and problems_are_few(problems)
    ]
    # A case whose name was spoiled too is named by its new name, or by its place in the list.
    renamed = {problem.case for problem in problems} - {*CASES, None}
    places = {place[0] for problem in problems if (place := re.search(r"\b\w+ item \d+", problem.message))}
    assert len(lost) <= max(len(renamed), len(places)), f"{lost} are lost: {[p.message for p in problems]}"
    return "problems" if problems else "read"


def problems_are_few(problems: list[Any]) -> bool:
    """Whether no problem is about the data set as a whole, which explains every lost case."""
    return not any(problem.case is None and problem.severity == "error" for problem in problems)
