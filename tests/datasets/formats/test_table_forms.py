"""Long and wide tables: names of columns, systems of coordinates, pixels and millimetres."""

import numpy as np
import pytest
from format_examples import EXAMPLES, PIXELS, pictures, volumes
from PIL import Image

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.datasets import read_dataset
from auto_config.errors import UserError


def inline(dataset):
    return {case.name: case.landmarks.to_inline() for case in dataset.cases}


def errors(problems):
    return [problem.message for problem in problems if problem.severity == "error"]


def example(name, root):
    EXAMPLES[name][1](root)
    return root


@pytest.mark.parametrize(
    ("header", "spatial_dims"),
    [
        ("case,AC_x_ras_mm,AC_y_ras_mm,AC_z_ras_mm", 3),
        ("id,x_AC_ras,y_AC_ras,z_AC_ras", 3),
        ("image;AC x ras mm;AC y ras mm;AC z ras mm".replace(" ras mm", "_ras_mm"), 3),
        ("subject\tAC.x_RAS\tAC.y_RAS\tAC.z_RAS", 3),
        ("case,AC-x_px,AC-y_px", 2),
        ("case,AC_x,AC_y", 2),
    ],
)
def test_wide_tables_name_their_points_in_many_ways(header, spatial_dims, tmp_path):
    volumes(tmp_path) if spatial_dims == 3 else pictures(tmp_path)
    sign = next(sign for sign in "\t;," if sign in header)
    lines = [sign.join([case, *"123"[:spatial_dims]]) for case in ("ann", "ben")]
    (tmp_path / "points.csv").write_text("\n".join([header, *lines]) + "\n")
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    assert inline(dataset) == {case: {"AC": [1, 2, 3][:spatial_dims]} for case in ("ann", "ben")}


def test_numbered_columns_are_landmarks_called_by_their_number(tmp_path):
    volumes(tmp_path)
    (tmp_path / "points.csv").write_text("case,x1,y1,z1,x2,y2,z2\nann,1,2,3,3,2,1\nben,1,2,3,absent,absent,absent\n")
    dataset, problems = read_dataset(tmp_path, coordinates="lps")
    assert problems == []
    assert inline(dataset) == {"ann": {"1": [-1, -2, 3], "2": [-3, -2, 1]}, "ben": {"1": [-1, -2, 3], "2": "absent"}}


def test_an_empty_cell_of_a_wide_table_is_a_landmark_that_the_case_lacks(tmp_path):
    volumes(tmp_path)
    lines = ["case,A_x_ras,A_y_ras,A_z_ras,B_x_ras,B_y_ras,B_z_ras", "ann,1,2,3,,,", "ben,1,2,3,4,5,6"]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    for missing, status in (("unknown", UNKNOWN), ("absent", ABSENT)):
        dataset, _ = read_dataset(tmp_path, missing=missing)
        assert dataset.cases[0].landmarks.status.tolist() == [PRESENT, status]


@pytest.mark.parametrize(
    ("coordinates", "expected"),
    [("ras", [1, 2, 3]), ("lps", [-1, -2, 3]), ("voxel", [-3, -2.5, -2]), ("pixel", [-3, -2.5, -2])],
)
def test_coordinates_that_nobody_declares_are_asked_for(coordinates, expected, tmp_path):
    volumes(tmp_path)
    (tmp_path / "points.csv").write_text("case,landmark,x,y,z\nann,AC,1,2,3\nben,AC,1,2,3\n")
    with pytest.raises(UserError, match="--coordinates ras, lps or voxel"):
        read_dataset(tmp_path)
    dataset, problems = read_dataset(tmp_path, coordinates=coordinates)
    assert problems == []
    assert inline(dataset)["ann"]["AC"] == expected


def test_coordinates_against_the_names_of_the_columns_are_refused(tmp_path):
    example("csv", tmp_path)
    with pytest.raises(UserError, match="named as ras"):
        read_dataset(tmp_path, coordinates="lps")
    with pytest.raises(UserError, match="--coordinates is 'mni'; allowed are ras"):
        read_dataset(tmp_path, coordinates="mni")
    (tmp_path / "points.csv").write_text("case,landmark,x,y\nann,AC,1,2\n")
    with pytest.raises(UserError, match="two coordinates, which are not RAS"):
        read_dataset(tmp_path, coordinates="ras")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("ann,1,2", "give a number in each"),
        ("ann,1,2,3\nann,1,2,3", "case 'ann' occurs twice"),
        ("ann,1,2,3,4", "has 5 cells for 4 columns"),
        ("ann,1,absent,3", "give a number in each"),
    ],
)
def test_a_wrong_line_of_a_wide_table_is_an_error(line, word, tmp_path):
    volumes(tmp_path)
    (tmp_path / "points.csv").write_text(f"case,A_x_ras,A_y_ras,A_z_ras\n{line}\nben,1,2,3\n")
    dataset, problems = read_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["ben"]
    (message,) = errors(problems)
    assert word in message


@pytest.mark.parametrize(
    ("header", "word"),
    [
        ("case,A_x_ras,A_y_ras,A_z_ras,B_x_lps,B_y_lps,B_z_lps", "different systems"),
        ("case,A_x_ras,A_y_ras", "no z"),
        ("case,A_x,A_y,A_z,A_x", "not equally many"),
        ("case,landmark,x_ras,y_ras,z_ras,x_ras", "'x_ras' occurs twice"),
        ("case,volume,age", "no column for the landmark"),
    ],
)
def test_columns_that_do_not_fit_are_refused(header, word, tmp_path):
    volumes(tmp_path)
    (tmp_path / "points.csv").write_text(header + "\n" + "ann" + ",1" * header.count(",") + "\n")
    with pytest.raises(UserError) as caught:
        read_dataset(tmp_path / "points.csv")
    assert word in str(caught.value)


def test_points_in_mm_of_pictures_need_their_pixel_size(tmp_path):
    pictures(tmp_path)
    (tmp_path / "points.csv").write_text("case,landmark,x_mm,y_mm\nann,AC,1,2\nben,AC,1,2\n")
    _, problems = read_dataset(tmp_path)
    assert "give --pixel_spacing" in errors(problems)[0]
    dataset, problems = read_dataset(tmp_path, pixel_spacing=0.5)
    assert (problems, dataset.unit, dataset.cases[0].pixel_spacing) == ([], "mm", (0.5, 0.5))
    assert inline(dataset)["ann"] == {"AC": [1, 2]}


def test_pixels_become_mm_where_the_pixel_size_is_known(tmp_path):
    example("coco", tmp_path)
    dataset, _ = read_dataset(tmp_path)
    assert (dataset.unit, dataset.spatial_dims, inline(dataset)["ann"]) == ("px", 2, PIXELS)
    dataset, _ = read_dataset(tmp_path, pixel_spacing=[0.1, 0.2])
    assert dataset.unit == "mm"
    np.testing.assert_allclose(dataset.cases[0].landmarks.points, [[0.3, 0.9], [0.6, 0.4]])
    with pytest.raises(UserError, match="--pixel_spacing"):
        read_dataset(tmp_path, pixel_spacing=-1)


def test_pictures_of_known_and_unknown_pixel_size_do_not_mix(tmp_path):
    pictures(tmp_path / "images")
    Image.new("L", (12, 10)).save(tmp_path / "images" / "ben.tif", resolution=254, resolution_unit=3)
    (tmp_path / "images" / "ben.png").unlink()
    (tmp_path / "points.csv").write_text("case,landmark,x,y\nann,AC,1,2\nben,AC,1,2\n")
    dataset, problems = read_dataset(tmp_path)
    if dataset.unit == "mm":
        assert [case.name for case in dataset.cases] == ["ben"]
        assert "pixel size is not known" in errors(problems)[0]


@pytest.mark.parametrize("column", ["image_path", "file_path", "img"])
@pytest.mark.parametrize("case", [False, True])
def test_the_path_of_the_image_may_be_called_by_other_names(column, case, tmp_path):
    pictures(tmp_path)
    paths = {path.stem: path.name for path in sorted(tmp_path.glob("*.png"))}
    lines = [f"{'p' + stem + ',' if case else ''}{name},1,2,3,4" for stem, name in paths.items()]
    header = f"{'case,' if case else ''}{column},1_x,1_y,2_x,2_y"
    (tmp_path / "points.csv").write_text("\n".join([header, *lines]) + "\n")
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    assert paths
    assert inline(dataset) == {("p" if case else "") + stem: {"1": [1, 2], "2": [3, 4]} for stem in paths}


@pytest.mark.parametrize("word", ["NaN", "nan"])
@pytest.mark.parametrize("wide", [False, True])
def test_nan_is_an_empty_cell(word, wide, tmp_path):
    volumes(tmp_path)
    if wide:
        text = "case,A_x_ras,A_y_ras,A_z_ras,B_x_ras,B_y_ras,B_z_ras\nann,1,2,3,#,#,#\nben,1,2,3,3,2,1\n"
    else:
        text = "case,landmark,x_ras,y_ras,z_ras\nann,A,1,2,3\nann,B,#,#,#\nben,A,1,2,3\nben,B,3,2,1\n"
    read = {}
    for cell in ("", word):
        (tmp_path / "points.csv").write_text(text.replace("#", cell))
        dataset, problems = read_dataset(tmp_path)
        read[cell] = inline(dataset), [problem.message for problem in problems]
    assert read[""] == read[word]
    assert read[word][0]["ben"] == {"A": [1, 2, 3], "B": [3, 2, 1]}


def test_a_payer_table_without_images_is_one_line_that_says_where_they_belong(tmp_path):
    (tmp_path / "all.csv").write_text("3142,1,2,3,4\n3143,4,3,2,1\n")
    with pytest.raises(UserError, match=r"no images below .*named as the first cell of each line, such as '3142'"):
        read_dataset(tmp_path)


def test_nan_in_a_payer_table_is_an_unknown_landmark(tmp_path):
    pictures(tmp_path)
    first, second = sorted(path.stem for path in tmp_path.glob("*.png"))[:2]
    (tmp_path / "all.csv").write_text(f"{first},1,2,NaN,nan\n{second},4,3,2,1\n")
    dataset, problems = read_dataset(tmp_path)
    assert errors(problems) == []
    assert {case.name: case.landmarks.status.tolist() for case in dataset.cases} == {
        first: [PRESENT, UNKNOWN],
        second: [PRESENT, PRESENT],
    }
    (tmp_path / "all.csv").write_text(f"{first},1,2,3,nan\n{second},4,3,2,1\n")
    assert "NaN in all cells of a point" in errors(read_dataset(tmp_path)[1])[0]


@pytest.mark.parametrize("column", ["col", "column", "Col", "col_px"])
def test_row_and_column_of_a_picture_are_y_and_x(column, tmp_path):
    pictures(tmp_path)
    row = "row_px" if column.endswith("_px") else "row"
    lines = [f"{case},{name},{y},{x}" for case in ("ann", "ben") for name, (x, y) in PIXELS.items()]
    text = "\n".join([f"image,landmark,{row},{column}", *(line.replace("PC, left", "PC") for line in lines)])
    (tmp_path / "points.csv").write_text(text)
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    assert inline(dataset)["ann"] == {"AC": PIXELS["AC"], "PC": PIXELS["PC, left"]}


@pytest.mark.parametrize("header", ["image,A_row,A_col,B_row,B_col", "image,row_A,column_A,row_B,column_B"])
def test_row_and_column_may_be_the_columns_of_a_wide_table(header, tmp_path):
    pictures(tmp_path)
    (tmp_path / "points.csv").write_text(f"{header}\nann,1,2,3,4\nben,1,2,3,4\n")
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    assert inline(dataset)["ann"] == {"A": [2, 1], "B": [4, 3]}


def test_a_table_without_columns_of_a_point_is_told_those_of_pictures_too(tmp_path):
    pictures(tmp_path)
    text = "image,landmark,#\nann,A,4,3\nben,A,4,3\n"
    (tmp_path / "points.csv").write_text(text.replace("#", "top,left"))
    with pytest.raises(UserError, match=r"no columns of a point among .*, top, left; .* of pictures to x, y"):
        read_dataset(tmp_path / "points.csv")
    for remedy in ("x,y", "x_mm,y_mm"):
        (tmp_path / "points.csv").write_text(text.replace("#", remedy))
        dataset, problems = read_dataset(tmp_path / "points.csv", pixel_spacing=1)
        assert (problems, inline(dataset)["ann"]) == ([], {"A": [4, 3]})


def test_nan_in_a_column_of_the_case_says_nothing(tmp_path):
    volumes(tmp_path)
    text = "case,landmark,x_ras,y_ras,z_ras,status,split,fold,group\nann,A,1,2,3,NaN,NaN,nan,NaN\nben,A,1,2,3,,,,g\n"
    (tmp_path / "points.csv").write_text(text)
    dataset, problems = read_dataset(tmp_path / "points.csv")
    assert problems == []
    assert [(case.split, case.fold, case.group) for case in dataset.cases] == [
        ("training", None, None),
        ("training", None, "g"),
    ]
    (tmp_path / "cases.csv").write_text("case,split,fold,group\nann,test,NaN,NaN\nben,nan,0,nan\n")
    dataset, problems = read_dataset(tmp_path / "points.csv")
    assert problems == []
    assert [(case.split, case.fold, case.group) for case in dataset.cases] == [
        ("test", None, None),
        ("training", 0, None),
    ]


def test_nan_in_a_text_of_pixels_is_an_unknown_landmark(tmp_path):
    pictures(tmp_path)
    (tmp_path / "ann.txt").write_text("NaN,NaN\n3,4\n1\n")
    (tmp_path / "ben.txt").write_text("1 2\nnan nan\n")
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    assert inline(dataset) == {"ann": {"1": "unknown", "2": [3, 4]}, "ben": {"1": [1, 2], "2": "unknown"}}
    (tmp_path / "ben.txt").write_text("1 2\n3 nan\n")
    assert "NaN in all" in errors(read_dataset(tmp_path)[1])[0]


@pytest.mark.parametrize("sign", [";", "\t"])
@pytest.mark.parametrize("wide", [False, True])
def test_decimal_commas_are_read_where_the_comma_separates_no_cells(sign, wide, tmp_path):
    pictures(tmp_path)
    if wide:
        lines = ["image", "A_x", "A_y"], ["ann.png", "3,25", "4"], ["ben.png", "-,5", "1,5e1"]
    else:
        lines = ["image", "landmark", "x", "y"], ["ann.png", "1,5", "3,25", "4"], ["ben.png", "1,5", "-,5", "1,5e1"]
    name = "A" if wide else "1,5"
    (tmp_path / "points.csv").write_text("\ufeff" + "\r\n".join(map(sign.join, lines)), encoding="utf-8")
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    assert inline(dataset) == {"ann": {name: [3.25, 4]}, "ben": {name: [-0.5, 15]}}
    text = (tmp_path / "points.csv").read_text(encoding="utf-8")
    (tmp_path / "points.csv").write_text(text.replace(f"{sign}4", f"{sign}4.5"), encoding="utf-8")
    with pytest.raises(UserError, match=r"line 2 has '3,25' with a comma, line 2 '4.5' with a point; write all"):
        read_dataset(tmp_path)


def test_decimal_commas_among_commas_are_named_and_the_remedy_reads_them(tmp_path):
    pictures(tmp_path)
    (tmp_path / "points.csv").write_text("image,A_x,A_y\nann,3,25,4,5\nben,1,5,2,5\n")
    message = errors(read_dataset(tmp_path)[1])[0]
    assert "5 cells for 3 columns" in message
    assert "put semicolons between the cells of numbers with a decimal comma" in message
    (tmp_path / "points.csv").write_text("image;A_x;A_y\nann;3,25;4,5\nben;1,5;2,5\n")
    dataset, problems = read_dataset(tmp_path)
    assert (problems, inline(dataset)) == ([], {"ann": {"A": [3.25, 4.5]}, "ben": {"A": [1.5, 2.5]}})


def test_decimal_commas_of_texts_of_pixels(tmp_path):
    pictures(tmp_path)
    (tmp_path / "all.csv").write_text("ann;3,25;4,0;1,0;2,5\nben;1,5;2,5;3;4\n")
    dataset, problems = read_dataset(tmp_path)
    assert (problems, inline(dataset)["ann"]) == ([], {"1": [3.25, 4], "2": [1, 2.5]})
    (tmp_path / "all.csv").unlink()
    (tmp_path / "ann.txt").write_text("3,25;4\n1;2,5\n7\n")
    (tmp_path / "ben.txt").write_text("1,5 2,5\n3, 4\n")
    dataset, problems = read_dataset(tmp_path)
    expected = {"ann": {"1": [3.25, 4], "2": [1, 2.5]}, "ben": {"1": [1.5, 2.5], "2": [3, 4]}}
    assert (problems, inline(dataset)) == ([], expected)


def test_an_image_that_cannot_be_read_is_one_error_and_not_said_to_be_without_a_line(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((9, 9), dtype=np.uint8)).save(tmp_path / "images" / name)
    (tmp_path / "images" / "a.png").write_bytes((tmp_path / "images" / "a.png").read_bytes()[:20])
    (tmp_path / "points.csv").write_text("image,landmark,x,y\na.png,P,1,2\nb.png,P,3,4\n")
    dataset, problems = read_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["b"]
    assert [problem.severity for problem in problems] == ["error"]
    assert "a.png: image cannot be read" in problems[0].message
