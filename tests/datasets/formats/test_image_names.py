"""Names of images in tables, as Windows, spreadsheets and Macs write them."""

import json
import unicodedata

import numpy as np
import pytest
from format_examples import pictures, volumes
from PIL import Image

from auto_config.commands.create import create, with_groups
from auto_config.datasets import read_dataset
from auto_config.datasets.formats.shared.image_names import base_name, meant_name

NUMBERED = ("0001", "0002", "0010")


def numbered(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NUMBERED):
        Image.new("L", (12, 10), number + 1).save(folder / f"{name}.png")


def read(path):
    dataset, problems = read_dataset(path)
    return {case.name: case.image[0].name for case in dataset.cases}, [problem.message for problem in problems]


ALL = {name: f"{name}.png" for name in NUMBERED}


@pytest.mark.parametrize(
    "path", ["C:\\Users\\me\\{}.png", "\\\\server\\x-rays\\{}.png", "images\\{}.png", "/home/me/{}.png"]
)
@pytest.mark.parametrize("column", ["image", "case", "image_path"])
def test_paths_of_other_machines_are_found_by_their_last_part(path, column, tmp_path):
    numbered(tmp_path / "images")
    lines = [f"{path.format(name)},1,2" for name in NUMBERED]
    (tmp_path / "points.csv").write_text("\n".join([f"{column},A_x,A_y", *lines]))
    assert read(tmp_path) == (ALL, [])


def test_a_path_of_windows_beside_a_case_with_its_own_name(tmp_path):
    numbered(tmp_path)
    lines = [f"p{number},D:\\x\\{name}.png,1,2" for number, name in enumerate(NUMBERED)]
    (tmp_path / "points.csv").write_text("\n".join(["case,image,A_x,A_y", *lines]))
    assert read(tmp_path) == ({f"p{number}": f"{name}.png" for number, name in enumerate(NUMBERED)}, [])


def test_of_equal_names_the_one_whose_folders_agree_is_meant(tmp_path):
    for folder in ("north", "south"):
        pictures(tmp_path / folder)
    lines = [
        f"{folder}{case},E:\\all\\{folder}\\{case}.png,1,2" for folder in ("north", "south") for case in ("ann", "ben")
    ]
    (tmp_path / "points.csv").write_text("\n".join(["case,image,A_x,A_y", *lines]))
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    found = {case.name: case.image[0].relative_to(tmp_path).as_posix() for case in dataset.cases}
    assert found == {
        f"{folder}{case}": f"{folder}/{case}.png" for folder in ("north", "south") for case in ("ann", "ben")
    }
    (tmp_path / "points.csv").write_text("case,image,A_x,A_y\na,E:\\all\\ann.png,1,2\nb,north/ben.png,1,2\n")
    _, messages = read(tmp_path)
    assert any("fits several images, north/ann.png and south/ann.png" in message for message in messages)


@pytest.mark.parametrize("wide", [False, True])
def test_leading_zeros_that_a_spreadsheet_took_away(wide, tmp_path):
    numbered(tmp_path)
    numbers = [str(int(name)) for name in NUMBERED]
    if wide:
        lines = ["case,A_x,A_y", *(f"{number},1,2" for number in numbers)]
    else:
        lines = ["case,landmark,x,y", *(f"{number},A,1,2" for number in numbers)]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    found, (message,) = read(tmp_path)
    assert found == ALL
    assert "3 cases are written without the leading zeros of the image" in message
    assert "'1' is taken as 0001.png" in message


def test_a_number_that_fits_two_images_is_not_guessed(tmp_path):
    numbered(tmp_path)
    Image.new("L", (12, 10)).save(tmp_path / "01.png")
    (tmp_path / "points.csv").write_text("case,A_x,A_y\n1,1,2\n2,1,2\n10,1,2\n")
    found, messages = read(tmp_path)
    assert "0001" not in found
    assert "case '1' fits several images, 0001.png and 01.png" in messages[0]
    (tmp_path / "points.csv").write_text("case,A_x,A_y\n01,1,2\n2,1,2\n10,1,2\n")
    assert read(tmp_path)[0]["01"] == "01.png"


def test_a_table_without_header_has_the_same_names(tmp_path):
    numbered(tmp_path)
    (tmp_path / "all.csv").write_text("1,3,4\nC:\\x\\0002.png,3,4\n0010,3,4\n")
    found, (message,) = read(tmp_path)
    assert found == ALL
    assert "1 case is written without the leading zeros" in message


def test_an_accent_may_be_one_sign_or_two(tmp_path):
    Image.new("L", (12, 10), 1).save(tmp_path / f"{unicodedata.normalize('NFD', 'Zoë')}.png")
    Image.new("L", (12, 10), 2).save(tmp_path / "ben.png")
    (tmp_path / "points.csv").write_text("case,A_x,A_y\n" + unicodedata.normalize("NFC", "Zoë") + ",1,2\nben,1,2\n")
    found, messages = read(tmp_path)
    assert messages == []
    assert len(found) == 2


@pytest.mark.parametrize("write", ["coco", "datalist"])
def test_backslashes_in_json(write, tmp_path):
    numbered(tmp_path / "images" / "train")
    paths = [f"images\\train\\{name}.png" for name in NUMBERED]
    if write == "coco":
        document = {
            "images": [{"id": number, "file_name": path} for number, path in enumerate(paths)],
            "annotations": [
                {"id": number, "image_id": number, "category_id": 1, "keypoints": [1, 2, 2]} for number in range(3)
            ],
            "categories": [{"id": 1, "name": "head", "keypoints": ["A"]}],
        }
    else:
        document = {"training": [{"image": path, "label": {"A": [1, 2]}} for path in paths]}
    (tmp_path / "set.json").write_text(json.dumps(document))
    assert read(tmp_path / "set.json") == (ALL, [])


def test_cases_and_groups_are_found_without_their_zeros(tmp_path):
    numbered(tmp_path)
    (tmp_path / "points.csv").write_text("case,A_x,A_y\n0001,1,2\n0002,1,2\n0010,1,2\n")
    (tmp_path / "cases.csv").write_text("case;split\n1;test\n2;\n")
    dataset, problems = read_dataset(tmp_path / "points.csv")
    assert problems == []
    assert [case.split for case in dataset.cases] == ["test", "training", "training"]
    (tmp_path / "groups.csv").write_text("Case;group\n1;p\n2;p\n10;NaN\n")
    assert [case.group for case in with_groups(dataset, tmp_path / "groups.csv").cases] == ["p", "p", None]


def test_test_cases_are_found_without_their_zeros(tmp_path):
    for number in range(1, 9):
        grey = np.random.default_rng(number).integers(0, 255, (40, 50)).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / f"{number:04d}.png")
    lines = [f"{number:04d},{number + 9},20,{30 - number},{12 + number}" for number in range(1, 9)]
    (tmp_path / "points.csv").write_text("\n".join(["case,A_x,A_y,B_x,B_y", *lines]))
    (tmp_path / "test.txt").write_text("2\n0005\n")
    create(tmp_path / "points.csv", tmp_path / "bundle", network="tiny", test=tmp_path / "test.txt")
    document = json.loads((tmp_path / "bundle" / "data" / "datalist.json").read_text())
    assert [item["case"] for item in document["test"]] == ["0002", "0005"]


def test_names_that_are_no_numbers_keep_their_zeros(tmp_path):
    assert meant_name("1", ["0001", "001"]) is None
    assert meant_name("a1", ["a01"]) is None
    assert meant_name("0", ["000"]) == "000"
    assert base_name("a\\b/c.png") == "c.png"
    assert base_name("/") == ""
    volumes(tmp_path)
    (tmp_path / "points.csv").write_text("case,A_x_ras,A_y_ras,A_z_ras\n/,1,2,3\nann,1,2,3\nben,1,2,3\n")
    found, messages = read(tmp_path)
    assert list(found) == ["ann", "ben"]
    assert "no image for case '/'" in messages[0]
