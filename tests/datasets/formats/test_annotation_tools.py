"""Files of tpsDig, 300-W, VerSe, grand-challenge, Label Studio and CVAT: where points lie, and remedies."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from format_examples import EXAMPLES, PIXELS, POINTS, pictures
from PIL import Image

from auto_config.datasets import read_dataset
from auto_config.errors import UserError


def example(name, root):
    return EXAMPLES[name][1](root)


def points_of(root, case=0, **options):
    return read_dataset(root, **options)[0].cases[case].landmarks.to_inline()


def messages(root, **options):
    return [problem.message for problem in read_dataset(root, **options)[1] if "no case" not in problem.message]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pts", {"1": PIXELS["AC"], "2": PIXELS["PC, left"]}),
        ("tps", {"1": PIXELS["AC"], "2": PIXELS["PC, left"], "3": "unknown"}),
        ("label_studio", PIXELS),
        ("cvat", PIXELS | {"eye": "unknown"}),
        ("grand_challenge", POINTS),
        ("verse", {"L1": [1.0, 2.0, 3.0], "T12": [-3.0, -2.5, -2.0]}),
    ],
)
def test_points_are_where_the_tool_shows_them(name, expected, tmp_path):
    example(name, tmp_path)
    found = points_of(tmp_path)
    assert found.keys() == expected.keys()
    for landmark, point in expected.items():
        assert found[landmark] == (point if isinstance(point, str) else pytest.approx(point))


@pytest.mark.parametrize("name", ["tps", "label_studio", "cvat"])
def test_the_file_itself_can_be_given(name, tmp_path):
    path = example(name, tmp_path)[0]
    assert points_of(path) == points_of(tmp_path)


def mark(root, at, shape=(12, 10)):
    """Pictures with one bright pixel (x, y)."""
    for path in root.rglob("*.png"):
        array = np.zeros(shape[::-1], dtype=np.uint8)
        array[at[1], at[0]] = 255
        Image.fromarray(array).save(path)


def brightest(case):
    row, column = np.unravel_index(np.asarray(Image.open(case.image[0])).argmax(), (10, 12))
    return [column, row]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        # The centre of pixel (4, 2) of 12 x 10: 37.5 and 25 percent; the first pixel is 1, 1 in 300-W.
        ("label_studio", lambda text: text.replace('"x": 29.166666666666668, "y": 50.0', '"x": 37.5, "y": 25.0')),
        ("pts", lambda text: text.replace("4.0 5.5", "5 3")),
        ("tps", lambda text: text.replace("3.0 5.5", "4 8")),
        ("cvat", lambda text: text.replace("3.0,4.5", "4,2")),
    ],
)
def test_a_point_lies_on_the_bright_pixel(name, change, tmp_path):
    for path in example(name, tmp_path):
        changed = change(path.read_text())
        assert changed != path.read_text()
        path.write_text(changed)
    mark(tmp_path, (4, 2))
    dataset, _ = read_dataset(tmp_path)
    for case in dataset.cases:
        assert case.landmarks.points[0] == pytest.approx(brightest(case))


@pytest.mark.parametrize("direction", ["RAS", "LPS", "PIR", "SLA", "IPL"])
@pytest.mark.parametrize("stored", ["RAS", "LPS", "PIR", "ASL"])
def test_verse_centroids_lie_on_the_bright_voxel_in_every_orientation(direction, stored, tmp_path):
    array = np.zeros((8, 9, 10), dtype=np.float32)
    array[1, 2, 3] = 1
    affine = np.diag([0.5, 1.0, 2.0, 1.0])
    affine[:3, 3] = 10, -20, 30
    image = nib.Nifti1Image(array, affine)

    def turned(to):
        start = nib.orientations.io_orientation(image.affine)
        return image.as_reoriented(nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(to)))

    voxel = np.argwhere(np.asarray(turned(direction).dataobj) == 1)[0].tolist()
    for case in ("ann", "ben"):
        nib.save(turned(stored), tmp_path / f"sub-{case}_ct.nii.gz")
        centroids = [{"direction": list(direction)}, {"label": 24, **dict(zip("XYZ", voxel, strict=True))}]
        centroids += [{"label": 8, "X": float("nan"), "Y": 1.0, "Z": 1.0}]
        (tmp_path / f"sub-{case}_seg-subreg_ctd.json").write_text(json.dumps(centroids))
        nib.save(turned(stored), tmp_path / f"sub-{case}_seg-vert_msk.nii.gz")
    dataset, problems = read_dataset(tmp_path)
    assert [problem.message for problem in problems if "no case" not in problem.message] == []
    assert dataset.format == "verse"
    assert dataset.cases[0].landmarks.to_inline() == {"L5": [10.5, -18.0, 36.0], "T1": "unknown"}
    assert dataset.cases[0].image[0].name == "sub-ann_ct.nii.gz"


def test_grand_challenge_of_pictures_and_without_names(tmp_path):
    pictures(tmp_path)
    for case in ("ann", "ben"):
        document = {"type": "Multiple points", "points": [{"point": [3, 4.5, 1]}, {"name": "N", "point": [6, 2, 1]}]}
        (tmp_path / f"{case}.json").write_text(json.dumps(document))
    assert points_of(tmp_path) == {"1": [3.0, 4.5], "N": [6.0, 2.0]}


def test_a_scale_is_named_and_the_remedy_is_applied(tmp_path):
    path = example("tps", tmp_path)[0]
    path.write_text(path.read_text().replace("ID=", "SCALE=0.05\nID="))
    assert [message for message in messages(tmp_path) if "SCALE" in message] == [
        f"{path}: SCALE=0.05 does not say its unit and is not used; if it is mm for a pixel, give --pixel_spacing 0.05"
    ]
    assert messages(tmp_path, pixel_spacing=0.05) == []
    assert points_of(tmp_path, pixel_spacing=0.05)["1"] == pytest.approx([0.15, 0.225])


def test_skipped_landmarks_curves_and_windows_paths_of_tpsdig(tmp_path):
    path = example("tps", tmp_path)[0]
    text = (
        path.read_text()
        .replace("NA NA", "-1.00000 -1.00000")
        .replace("IMAGE=", "CURVES=1\nPOINTS=2\n1 1\n2 2\nIMAGE=C:\\a\\")
    )
    path.write_bytes(text.replace("\n", "\r\n").encode())
    assert messages(tmp_path) == [
        f"{path}: 2 pictures have curves or outlines, which are no landmarks; they are passed over"
    ]
    assert points_of(tmp_path)["3"] == "unknown"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("tps", "LM=3", "LM=4", "LM='4', 3 points follow; make the two equal"),
        ("tps", "LM=3", "LM3=3", "LM3= has points in space"),
        ("tps", "IMAGE=", "PICTURE=", "IMAGE= is None; give the name of its picture"),
        ("pts", "n_points: 2", "n_points: 3", "n_points is 3, 2 points follow; make the two equal"),
        ("pts", "}", "", "is not of the form 'n_points: N', then N lines 'x y' in braces"),
        ("label_studio", '"original_width": 12', '"original_width": 24', "was set on a picture of 24 x 10 pixels"),
        ("label_studio", '"image_rotation": 0', '"image_rotation": 90', "turned by 90 degrees"),
        ("label_studio", '["AC"]', '["AC", "PC"]', "give each key point one label"),
        ("cvat", 'width="12"', 'width="24"', "was annotated with '24' x '10' pixels"),
        ("cvat", 'label="AC"', "", "points without a label"),
        ("verse", '"R", "A", "S"', '"R", "L", "S"', "its direction is [['R', 'L', 'S']]"),
        ("verse", '"label": 20', '"label": "L1"', "its label is 'L1'"),
        ("grand_challenge", '"point": [', '"pnt": [', "point is None; give 3 finite numbers"),
    ],
)
def test_what_is_wrong_is_named_in_its_file(name, old, new, message, tmp_path):
    path = example(name, tmp_path)[0]
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    found = [text for text in messages(tmp_path, format=name) if message in text]
    assert found
    assert all(text.startswith(str(path)) for text in found)


def test_a_lost_line_of_a_tps_does_not_join_two_pictures(tmp_path):
    path = example("tps", tmp_path)[0]
    path.write_text(path.read_text()[::-1].replace("3=ML", "3=XL", 1)[::-1])
    with pytest.raises(
        UserError, match=r"all.tps: line 11: a second IMAGE= without LM= before it; give each picture its LM="
    ):
        read_dataset(path, format="tps")


@pytest.mark.parametrize("name", ["tps", "label_studio", "cvat"])
def test_pictures_that_the_file_does_not_name_are_said(name, tmp_path):
    path = example(name, tmp_path)[0]
    shutil.copy(next(tmp_path.rglob("ann.png")), tmp_path / "carl.png")
    assert messages(tmp_path) == [
        f"{path}: does not name 1 of the images below {tmp_path} (carl.png); add them, until then they are left out"
    ]


def test_two_annotations_of_one_task_and_the_remedy(tmp_path):
    path = example("label_studio", tmp_path)[0]
    tasks = json.loads(path.read_text())
    other = json.loads(json.dumps(tasks[0]["annotations"][0]))
    other["result"][0]["value"]["x"] = 50.0
    tasks[0]["annotations"].insert(0, other)
    path.write_text(json.dumps(tasks))
    assert any("has 2 annotations; mark one as ground truth" in message for message in messages(tmp_path))
    tasks[0]["annotations"][1]["ground_truth"] = True
    path.write_text(json.dumps(tasks))
    assert (messages(tmp_path), points_of(tmp_path)["AC"]) == ([], pytest.approx(PIXELS["AC"]))
    tasks[0]["annotations"][1]["ground_truth"] = False
    tasks[0]["annotations"][0]["was_cancelled"] = True
    path.write_text(json.dumps(tasks))
    assert (messages(tmp_path), points_of(tmp_path)["AC"]) == ([], pytest.approx(PIXELS["AC"]))


@pytest.mark.parametrize(
    "address", ["/data/local-files/?d=images/{}.png", "s3://bucket/a/{}.png", "https://a.org/{}.png?X=1", "{}.png"]
)
def test_addresses_of_label_studio(address, tmp_path):
    path = example("label_studio", tmp_path)[0]
    tasks = json.loads(path.read_text())
    for task, case in zip(tasks, ("ann", "ben"), strict=True):
        task["data"] = {"text": "a note", "img": address.format(case)}
        del task["file_upload"]
    path.write_text(json.dumps(tasks))
    assert messages(tmp_path) == []


def test_other_shapes_are_passed_over_with_one_line(tmp_path):
    path = example("cvat", tmp_path)[0]
    path.write_text(path.read_text().replace("<skeleton", '<box label="h" xtl="0" ytl="0" xbr="1" ybr="1"/><skeleton'))
    assert messages(tmp_path) == [
        f"{path}: holds shapes of the kinds box, which are no landmarks; they are passed over"
    ]


def test_a_shape_of_several_points_in_cvat(tmp_path):
    path = example("cvat", tmp_path)[0]
    path.write_text(path.read_text().replace('points="3.0,4.5"', 'points="3.0,4.5;5,6"'))
    assert points_of(tmp_path) == {"AC 1": [3.0, 4.5], "AC 2": [5.0, 6.0], "PC, left": [6.0, 2.0], "eye": "unknown"}


def test_xml_that_grows_is_refused_before_it_does(tmp_path):
    path = example("cvat", tmp_path)[0]
    bomb = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(20)
    )
    text = path.read_text().replace("<annotations>", bomb + "]><annotations>").replace('label="AC"', 'label="&u;"')
    path.write_text(text)
    with pytest.raises(UserError, match=r"annotations.xml: has a document type \(DOCTYPE\)"):
        read_dataset(tmp_path, format="cvat")
    path.write_text("<annotations>" + "<a>" * 100_000)
    with pytest.raises(UserError, match="nested deeper than 20"):
        read_dataset(path)


@pytest.mark.parametrize(
    ("file", "text", "what", "remedy"),
    [
        ("a.json", '{"_via_img_metadata": {}}', "VIA", "export"),
        ("a.json", '{"1.png1": {"filename": "1.png", "regions": []}}', "VIA", "export"),
        ("via.csv", "filename,file_size,region_shape_attributes\n", "VIA", "columns case,landmark,x,y"),
        ("a.json", '{"images": [], "annotations": [], "categories": [{"id": 1}]}', "COCO without keypoints", "export"),
        ("a.json", '[{"id": 1, "kp": [{"x": 1, "keypointlabels": ["A"]}]}]', "JSON-MIN", "export the format 'JSON'"),
        ("a.json", '{"landmarks": [{"symbol": "A", "value": {"x": 1, "y": 2}}]}', "Aariz", "save its landmarks"),
        (
            "a.json",
            '{"type": "Point", "version": {"major": 1}, "point": [1, 2, 3]}',
            "grand-challenge",
            "Multiple points",
        ),
        ("a.geojson", '{"type": "FeatureCollection", "features": []}', "GeoJSON", "columns case,landmark,x,y"),
        ("dlc.csv", "scorer,me,me\nbodyparts,A,A\ncoords,x,y\n", "DeepLabCut", "NAME_x,NAME_y"),
        ("labels/ann.txt", "0 0.5 0.5 0.2 0.2 0.4 0.4 2\n", "YOLO", "COCO keypoints"),
        ("landmarks/ann.txt", "46,56,45\n60,40,30\n", "x,y,z without names", "x_voxel,y_voxel,z_voxel"),
        ("a.landmarksAscii", "# Avizo 3D ASCII 2.0\n", "Amira or Avizo", "columns case,landmark,x,y,z"),
        ("a.xml", "<annotation><object/></annotation>", "Pascal VOC", "COCO keypoints"),
        ("a.xml", "<?xml version='1.0'?><strange/>", "XML of an unknown kind (<strange>)", "columns case"),
        ("a.pts", "Version 1.0\n2\nS000 1 2 3\n", ".pts file of another kind", "columns case"),
        ("a.xlsx", "PK", "Excel", "save the sheet"),
        ("model.mat", "x", "MATLAB", "columns case"),
    ],
)
def test_files_that_are_not_read_are_named_with_the_remedy(file, text, what, remedy, tmp_path):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    for source, images in ((tmp_path, False), (path, False), (tmp_path, True), (path, True)):
        if images:
            pictures(tmp_path)
        with pytest.raises(UserError) as error:
            read_dataset(source)
        assert str(path) in str(error.value)
        assert what in str(error.value)
        assert remedy in str(error.value)
        assert "datalist" not in str(error.value)


def test_the_remedy_of_many_a_table_is_read(tmp_path):
    """Columns case,landmark,x,y, which the remedies name."""
    pictures(tmp_path)
    lines = [f"{case},{name},{x},{y}" for case in ("ann", "ben") for name, (x, y) in (("AC", (3, 4)), ("PC", (6, 2)))]
    (tmp_path / "points.csv").write_text("\n".join(["case,landmark,x,y", *lines]) + "\n")
    assert points_of(tmp_path) == {"AC": [3.0, 4.0], "PC": [6.0, 2.0]}
    (tmp_path / "points.csv").write_text("case,AC_x,AC_y\nann,3,4\nben,3,4\n")
    assert points_of(tmp_path) == {"AC": [3.0, 4.0]}


@pytest.mark.parametrize("name", ["markups", "labelme", "grand_challenge", "pts"])
def test_one_case_s_file_is_said_to_be_one(name, tmp_path):
    path = example(name, tmp_path)[0]
    with pytest.raises(UserError, match=r"holds the landmarks of one image \(\w+\); give the folder"):
        read_dataset(path)


@pytest.mark.parametrize("name", ["coco", "datalist", "labelme", "grand_challenge", "label_studio"])
def test_json_is_known_by_its_content_whatever_it_is_called(name, tmp_path):
    path = example(name, tmp_path)[0]
    if name in {"coco", "datalist", "label_studio"}:
        shutil.move(path, path.with_name("anything.json"))
    assert read_dataset(tmp_path)[0].format == name
