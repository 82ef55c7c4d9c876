"""Cohort CSV and MONAI datalist."""

import json

import pytest

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet
from auto_config.datasets import read_dataset
from auto_config.errors import UserError

POINTS = {"AC": [1.0, 2.0, 3.0], "PC": [4.0, -3.0, 1.0]}


@pytest.fixture
def images(folder):
    """A data set with two images and no landmark files."""
    (folder.root / "landmarks").rmdir()
    for case in ("a", "b"):
        folder.image(case)
    return folder


def table(folder, *lines, header="case,landmark,x_ras_mm,y_ras_mm,z_ras_mm", name="points.csv"):
    path = folder.root / name
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def inline(dataset):
    return {case.name: case.landmarks.to_inline() for case in dataset.cases}


TWO = ("a,AC,1,2,3", "a,PC,4,-3,1", "b,AC,1,2,3", "b,PC,4,-3,1")


@pytest.mark.parametrize(
    ("header", "change"),
    [
        ("case,landmark,x_ras_mm,y_ras_mm,z_ras_mm", str),
        ("Image,Label,X_RAS,Y_RAS,Z_RAS", str),
        ("case;landmark;x_ras_mm;y_ras_mm;z_ras_mm", lambda line: line.replace(",", ";")),
        (
            "filename,name,x_ras_mm,y_ras_mm,z_ras_mm",
            lambda line: line.replace("a,", "a.nii.gz,").replace("b,", "b.nii.gz,"),
        ),
        ("image,landmark,x_ras_mm,y_ras_mm,z_ras_mm", lambda line: f"images/{line[0]}.nii.gz{line[1:]}"),
        ("case,landmark,x,y,z,coordinate_system", lambda line: f"{line},ras"),
        (
            "case,landmark,x_lps_mm,y_lps_mm,z_lps_mm",
            lambda line: line.replace("1,2,3", "-1,-2,3").replace("4,-3", "-4,3"),
        ),
    ],
)
def test_a_table_says_its_system_in_its_columns(images, header, change):
    path = table(images, *map(change, TWO), header=header)
    for source in (path, images.root):
        dataset, problems = read_dataset(source)
        assert (dataset.format, problems) == ("csv", [])
        assert inline(dataset) == {"a": POINTS, "b": POINTS}
        assert dataset.cases[1].image == (images.root / "images" / "b.nii.gz",)


def test_what_predict_writes_is_read(images):
    header = "case,landmark,x_ras_mm,y_ras_mm,z_ras_mm,confidence,present,radius_mm"
    table(images, "a,AC,1,2,3,0.9,1,", "a,PC,4,-3,1,0.1,0,", "b,AC,1,2,3,0.9,1,", "b,PC,4,-3,1,0.9,1,", header=header)
    dataset, problems = read_dataset(images.root)
    assert problems == []
    assert inline(dataset) == {"a": {"AC": [1, 2, 3], "PC": "absent"}, "b": POINTS}


def test_status_split_fold_and_group(images):
    header = "case,landmark,x_ras_mm,y_ras_mm,z_ras_mm,status,split,fold,group"
    table(
        images,
        "a,AC,1,2,3,,,3,p1",
        "a,PC,,,,absent,,3,p1",
        "a,PX,1,2,3,unknown,,3,",
        "b,AC,1,2,3,present,test,,",
        "b,PC,1,2,3,,test,,",
        "b,PX,1,2,3,,test,,",
        header=header,
    )
    dataset, problems = read_dataset(images.root)
    assert problems == []
    first, second = dataset.cases
    assert first.landmarks.status.tolist() == [PRESENT, ABSENT, UNKNOWN]
    assert (first.split, first.fold, first.group) == ("training", 3, "p1")
    assert (second.split, second.fold, second.group) == ("test", None, None)


def test_a_line_without_coordinates_is_unknown(images):
    table(images, "a,AC,,,", *TWO[1:])
    assert inline(read_dataset(images.root)[0])["a"] == {"AC": "unknown", "PC": POINTS["PC"]}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("b,PC,4,,1", ["line 5", "'PC'", "three numbers"]),
        ("b,PC,4,x,1", ["line 5", "'PC'", "three numbers"]),
        ("b,PC,4,nan,1", ["line 5", "'PC'", "not finite"]),
        ("b,AC,4,2,1", ["line 5", "'AC' occurs twice in case 'b'"]),
        ("b,$x,4,2,1", ["'$x'", "rename"]),
        ("b,,4,2,1", ["line 5", "no landmark name"]),
    ],
)
def test_a_wrong_line_is_an_error_with_its_number(images, line, words):
    path = table(images, *TWO[:3], line)
    dataset, problems = read_dataset(path)
    assert [case.name for case in dataset.cases] == ["a"]
    (error,) = [problem for problem in problems if problem.severity == "error"]
    assert error.message.startswith(f"{path}: ")
    for word in words:
        assert word in error.message


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("case,landmark,x,y,z", r"rename the\s+columns"),
        ("landmark,x_ras_mm,y_ras_mm,z_ras_mm", "no column for the case"),
        ("case,x_ras_mm,y_ras_mm,z_ras_mm", "no column for the landmark"),
    ],
)
def test_a_table_without_needed_columns_is_refused(images, header, message):
    with pytest.raises(UserError, match=message):
        read_dataset(table(images, *TWO, header=header))
    with pytest.raises(UserError, match="is empty"):
        table(images).write_text("")
        read_dataset(images.root / "points.csv")


def test_lines_without_image_and_images_without_line(images):
    table(images, *TWO[:2], "gone,AC,1,2,3")
    dataset, problems = read_dataset(images.root)
    assert [case.name for case in dataset.cases] == ["a"]
    assert [problem.severity for problem in problems] == ["warning", "warning"]
    assert "no image for case 'gone'" in problems[0].message
    assert "b.nii.gz: no line in points.csv" in problems[1].message


def test_a_name_that_fits_two_images_is_an_error(images):
    (images.root / "other").mkdir()
    (images.root / "other" / "a.nii.gz").write_bytes((images.root / "images" / "a.nii.gz").read_bytes())
    table(images, *TWO)
    _, problems = read_dataset(images.root)
    assert any(problem.severity == "error" and "fits several images" in problem.message for problem in problems)


def test_two_tables_are_refused_and_other_tables_are_passed_over(images):
    table(images, *TWO)
    (images.root / "ages.csv").write_text("case,age\na,1\n")
    assert read_dataset(images.root)[0].format == "csv"
    table(images, *TWO, name="more.csv")
    with pytest.raises(UserError, match=r"more\.csv and points\.csv; give the path"):
        read_dataset(images.root)


def datalist(folder, document, name="datalist.json"):
    path = folder.root / name
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def item(stem, label=None, **more):
    return {"image": f"images/{stem}.nii.gz", "label": POINTS if label is None else label, **more}


def test_a_datalist_with_inline_points_folds_and_tests(images):
    images.image("c")
    path = datalist(
        images,
        {
            "landmarks": ["PC", "AC"],
            "training": [item("a", fold=2, group="p1")],
            "validation": [item("b")],
            "test": [item("c", {"AC": "absent", "PC": [1, 2, 3]}, case="last")],
        },
    )
    for source in (path, images.root):
        dataset, problems = read_dataset(source)
        assert (dataset.format, dataset.names, problems) == ("datalist", ("PC", "AC"), [])
        assert [(case.name, case.split, case.fold, case.group) for case in dataset.cases] == [
            ("a", "training", 2, "p1"),
            ("b", "training", 0, None),
            ("last", "test", None, None),
        ]
        assert dataset.cases[0].landmarks.to_inline() == {"PC": POINTS["PC"], "AC": POINTS["AC"]}


def test_a_datalist_with_paths_of_landmark_files_and_channels(images):
    write_markups(images.root / "a.mrk.json", LandmarkSet.from_inline(POINTS))
    path = datalist(
        images, {"training": [{"image": ["images/a.nii.gz", "images/b.nii.gz"], "label": "a.mrk.json"}], "testing": []}
    )
    dataset, problems = read_dataset(path)
    assert problems == []
    assert [image.name for image in dataset.cases[0].image] == ["a.nii.gz", "b.nii.gz"]
    assert inline(dataset) == {"a": POINTS}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"label": POINTS}, ["training item 2", "no 'image'"]),
        (item("gone"), ["training item 2", "gone.nii.gz not found"]),
        (item("b", "b.nii.gz"), ["training item 2", "'b.nii.gz' is not landmarks"]),
        (item("b", "gone.mrk.json"), ["gone.mrk.json: cannot be read"]),
        (item("b", {"AC": [1, 2]}), ["training item 2", "'AC'", "expected 3"]),
        (item("b", {"AC": "here"}), ["training item 2", "'AC'"]),
        (item("b", fold=-1), ["training item 2", "'fold' is -1"]),
        ({"image": 5, "label": POINTS}, ["training item 2", "'image' is 5"]),
        (item("b", {**POINTS, "new": [1, 2, 3]}), ["training item 2", "'new' is not in the list 'landmarks'"]),
    ],
)
def test_a_wrong_item_is_an_error_with_its_number(images, wrong, words):
    path = datalist(images, {"landmarks": ["AC", "PC"], "training": [item("a"), wrong]})
    _, problems = read_dataset(path)
    (error,) = [problem for problem in problems if problem.severity == "error"]
    for word in words:
        assert word in error.message


def test_all_landmarks_that_the_list_lacks_are_named_at_once(images):
    extra = {**POINTS, "new": [1, 2, 3], "other": [2, 3, 4]}
    path = datalist(images, {"landmarks": ["AC", "PC"], "training": [item("a"), item("b", extra)]})
    _, problems = read_dataset(path)
    (error,) = [problem for problem in problems if problem.severity == "error"]
    assert "2 landmarks are not in the list 'landmarks'" in error.message
    assert ": new, other;" in error.message
    assert "choose with --landmarks" in error.message


def test_an_item_without_label_is_left_out_with_a_warning(images):
    path = datalist(images, {"training": [item("a")], "test": ["images/b.nii.gz"]})
    dataset, problems = read_dataset(path)
    assert [case.name for case in dataset.cases] == ["a"]
    (problem,) = problems
    assert (problem.severity, problem.case) == ("warning", "b")
    assert "test item 1: has no label" in problem.message


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not valid JSON"), ("[]", "not a MONAI datalist"), ('{"training": [], "landmarks": 5}', "list of names")],
)
def test_what_is_not_a_datalist_is_refused(images, text, message):
    (images.root / "x.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_dataset(images.root / "x.json")
