"""Files as people and programs leave them: nothing in them is lost without a word, and the word names the remedy."""

import io
import json
import struct
import warnings
import zipfile

import pytest
from format_examples import EXAMPLES, PIXELS, POINTS
from image_examples import IMAGES, image_outcome, in_a_child, the_image

from auto_config.datasets import read_dataset
from auto_config.datasets.images import read_header, read_image
from auto_config.errors import UserError

_GEOMETRY = (
    *("NDims", "DimSize", "TransformMatrix", "Offset"),
    *("CenterOfRotation", "AnatomicalOrientation", "ElementSpacing"),
)


def made(name, folder):
    """The example of a parser, and its first file."""
    return EXAMPLES[name][1](folder)[0]


def messages(problems):
    return [problem.message for problem in problems]


def workbook():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (workbook(), "is an Excel workbook or a ZIP file and no text; save the sheet as 'CSV UTF-8'"),
        ("case,landmark\n".encode("utf-16"), "is UTF-16 text; save it again as UTF-8"),
        ("case,Nähte\n".encode("latin-1"), "is not UTF-8 text; save it again as UTF-8"),
        (b"patient,age\nann,4\n", "no column for the case among patient, age"),
    ],
)
def test_a_table_that_cannot_be_read_is_told_of_and_not_passed_over(content, said, tmp_path):
    table = made("csv", tmp_path)
    table.write_bytes(content)
    for format in (None, "csv"):
        with pytest.raises(UserError) as raised:
            read_dataset(tmp_path, format=format)
        assert f"{table}: {said}" in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1
    assert len(read_dataset(tmp_path, landmarks=["AC"])[0].cases) == 2, "images are there to be annotated"


def test_a_data_list_that_is_cut_off_is_told_of(tmp_path):
    path = made("datalist", tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"datalist\.json: is not valid JSON \(line 1"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("sep", ["sep=;\r\n", "SEP=;\n"])
def test_the_line_that_excel_puts_before_a_table_is_no_header(sep, tmp_path):
    table = made("csv", tmp_path)
    table.write_text(sep + table.read_text().replace('"PC, left"', "PC").replace(",", ";"))
    dataset, problems = read_dataset(tmp_path)
    assert (len(dataset.cases), dataset.names, problems) == (2, ("AC", "PC"), [])
    assert dataset.cases[1].landmarks.points[0].tolist() == POINTS["AC"]


@pytest.mark.parametrize("number", ["1_000", "١", "1,5", "1 000"])
def test_a_number_of_another_writing_is_an_error(number, tmp_path):
    table = made("csv", tmp_path)
    table.write_text(table.read_text().replace('ann,"PC, left",3.0', f'ann,"PC, left","{number}"'))
    dataset, problems = read_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["ben"]
    assert "line 3: landmark 'PC, left' has coordinates" in messages(problems)[0]


def test_an_underscore_in_a_number_of_slicer_is_an_error(tmp_path):
    path = made("fcsv", tmp_path)
    path.write_text(path.read_text().replace("0,-1.0,", "0,-1_0.0,"))
    dataset, problems = read_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["ben"]
    assert "landmark 'AC' has position ['-1_0.0'" in messages(problems)[0]


def test_columns_of_half_a_point_are_told(tmp_path):
    table = made("csv_wide", tmp_path)
    table.write_text(table.read_text().replace("PC, left_y_voxel", "PC left_y_voxel"))
    dataset, problems = read_dataset(tmp_path)
    assert dataset.names == ("AC",)
    assert messages(problems) == [
        f"{table}: columns 'PC, left_x_voxel', 'PC left_y_voxel', 'PC, left_z_voxel' are not read, they are no whole "
        "point; complete or rename them"
    ]


def test_two_columns_that_say_the_split_are_an_error(tmp_path):
    table = made("csv", tmp_path)
    table.write_text(table.read_text().replace("status,split", "split,split"))
    with pytest.raises(UserError, match="column 'split' occurs twice"):
        read_dataset(tmp_path, format="csv")


def test_a_line_of_one_number_before_a_point_does_not_renumber_the_others(tmp_path):
    path = made("isbi_txt", tmp_path)
    (x, _), (other_x, other_y) = PIXELS.values()
    path.write_text(f"{x}\n{other_x},{other_y}\n1\n2\n")
    dataset, problems = read_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["ben"]
    assert messages(problems) == [f"{path}: line 1 has one number and a point follows; give x and y in each line"]


def test_a_decimal_comma_in_an_fcsv_is_said_to_be_one(tmp_path):
    path = made("fcsv", tmp_path)
    path.write_text(path.read_text().replace("-1.0,-2.0,3.0", "-1,0,-2,0,3,0"))
    _, problems = read_dataset(tmp_path)
    assert (
        "cells for 14 columns; put quotes around names with commas, and write numbers with a point"
        in (messages(problems)[0])
    )


def test_an_annotation_without_keypoints_is_not_taken_as_unknown(tmp_path):
    path = made("coco", tmp_path)
    path.write_text(path.read_text().replace('"keypoints": [3.0', '"keypoint": [3.0', 1))
    dataset, problems = read_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["ben"]
    assert "annotation 1: has no 'keypoints', its category has 2" in messages(problems)[0]


def test_control_points_that_are_no_list_are_an_error(tmp_path):
    path = made("markups", tmp_path)
    document = json.loads(path.read_text())
    document["markups"][1]["controlPoints"] = {}
    path.write_text(json.dumps(document))
    _, problems = read_dataset(tmp_path)
    assert "'controlPoints' must be a list of points" in messages(problems)[0]


def test_a_table_of_cases_that_says_nothing_is_an_error(tmp_path):
    table = EXAMPLES["landmarks_json_and_cases_csv"][1](tmp_path)[1]
    table.write_text("case,set\nann,test\n")
    with pytest.raises(UserError, match="has none of the columns split, fold and group"):
        read_dataset(tmp_path)
    table.write_text("case,split\nann,test,,p,q\nben,training\n")
    _, problems = read_dataset(tmp_path)
    assert any("line 2: has 5 cells for 2 columns" in message for message in messages(problems))


@pytest.mark.parametrize("ending", ["nrrd", "nhdr"])
@pytest.mark.parametrize("line", ["9" * 3000, "units: " + "9" * 3000, "kinds:" + "x" * 3000])
def test_a_long_field_of_an_nrrd_does_not_end_the_process(ending, line, tmp_path):
    IMAGES[ending](tmp_path)
    path = the_image(tmp_path)
    head, separator, voxels = path.read_bytes().partition(b"\nencoding: ")
    path.write_bytes(head + b"\n" + line.encode() + separator + voxels)

    def read():
        with pytest.raises(UserError, match="characters and is no field of an NRRD"):
            read_header(path)

    assert in_a_child(read) == 0


@pytest.mark.parametrize(("axes", "sizes"), [(1, "720"), (5, "8 9 10 1 1")])
def test_an_image_of_one_axis_or_of_five_is_an_error_at_once(axes, sizes, tmp_path):
    IMAGES["mhd"](tmp_path)
    path = the_image(tmp_path)
    lines = [line for line in path.read_text().splitlines() if line.split(" ")[0] not in _GEOMETRY]
    data = [line for line in lines if line.startswith("ElementDataFile")]
    lines = [line for line in lines if line not in data]
    path.write_text("\n".join([*lines, f"NDims = {axes}", f"DimSize = {sizes}", *data]) + "\n")
    for read in (read_header, read_image):
        with pytest.raises(UserError, match=rf"image\.mhd: image cannot be read \(it has {axes} axes"):
            read(path)


@pytest.mark.parametrize("code", ["sform", "qform"])
def test_a_header_of_lengths_without_end_is_an_error_and_no_overflow(code, tmp_path):
    (path,) = IMAGES["nifti2"](tmp_path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<ii", content, 344, 1, 1)  # qform_code, sform_code
    struct.pack_into("<d", content, 400 if code == "sform" else 112, -1e200)  # srow_x, or pixdim[1]
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert image_outcome(tmp_path) == ("error" if code == "sform" else "read")


@pytest.mark.parametrize("line", ["# " + "9" * 3000, "content: " + "9" * 3000, "Segment0_Tags:=" + "a:b|" * 3000])
def test_free_text_of_an_nrrd_may_be_long(line, tmp_path):
    IMAGES["nrrd"](tmp_path)
    path = the_image(tmp_path)
    before = read_header(path)
    head, separator, voxels = path.read_bytes().partition(b"\nencoding: ")
    path.write_bytes(head + b"\n" + line.encode() + separator + voxels)
    assert image_outcome(tmp_path) == "read"
    assert (read_header(path).affine == before.affine).all()


@pytest.mark.parametrize(
    ("parser", "which", "change", "said"),
    [
        (
            "datalist",
            0,
            ('"raters"', '"rater"'),
            "item 1: has the key 'rater', which is not read; if 'raters' is meant",
        ),
        ("landmarks_json_and_cases_csv", 1, ("split", "splt"), "cases.csv: column 'splt' is not read; if 'split' is"),
        ("csv", 0, ("status", "staus"), "points.csv: column 'staus' is not read; if 'status' is meant, rename it"),
        ("nnlandmark", 2, ('"val": ["ben"]', '"val": ["bn"]'), "splits_final.json: names case 'bn', which has no"),
        (
            "nnlandmark",
            0,
            ('"status": {}', '"status": {"bn": {}}'),
            "dataset.json: names case 'bn', which has no image",
        ),
    ],
)
def test_a_slip_of_the_pen_that_would_lose_something_is_told(parser, which, change, said, tmp_path):
    right, wrong = change
    path = EXAMPLES[parser][1](tmp_path)[which]
    assert right in path.read_text()
    path.write_text(path.read_text().replace(right, wrong, 1))
    dataset, problems = read_dataset(tmp_path)
    assert len(dataset.cases) == 2
    assert any(said in message for message in messages(problems))


@pytest.mark.parametrize("parser", ["landmarks_json_and_cases_csv", "datalist"])
def test_a_section_of_landmarks_json_under_another_key_is_an_error(parser, tmp_path):
    path = made(parser, tmp_path)
    path.write_text(path.read_text().replace('"measures"', '"mesures"'))
    with pytest.raises(UserError, match="has the key 'mesures'; if 'measures' is meant"):
        read_dataset(tmp_path)


def test_a_name_that_a_table_lacks_is_told_with_its_case(tmp_path):
    table = made("csv", tmp_path)
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if not line.startswith('ben,"PC')))
    _, problems = read_dataset(tmp_path)
    assert f"{table}: case 'ben': has no landmark 'PC, left', which is in 1 of 2 cases only" in messages(problems)[0]


def test_a_case_whose_lines_are_wrong_is_not_said_to_have_none(tmp_path):
    table = made("csv", tmp_path)
    table.write_text(
        table.read_text().replace("ben,AC,1.0", "ben,AC,one").replace('ben,"PC, left",3.0', 'ben,"PC, left",x')
    )
    _, problems = read_dataset(tmp_path)
    assert {problem.severity for problem in problems} == {"error"}
    assert not any("no line in" in message for message in messages(problems))


def test_a_slip_in_a_name_is_one_warning_about_the_file_that_has_it(tmp_path):
    path = EXAMPLES["json"][1](tmp_path)[1]
    path.write_text(path.read_text().replace("PC, left", "PC, lefft"))
    _, problems = read_dataset(tmp_path)
    (warning,) = [problem for problem in problems if problem.severity == "warning"]
    assert "landmark 'PC, left' is in 1 of 2 cases only" in warning.message
    assert "'PC, lefft' in 1 other; if 'PC, lefft' is meant" in warning.message
