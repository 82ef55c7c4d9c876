"""What `inspect` says of pictures: their unit, their pixel size, and points that lie outside."""

import numpy as np
import pytest
from PIL import Image

from auto_config.commands.inspect import PROBLEMS_FOUND, inspect

POINTS = {"one": [(10, 20), (30, 5)], "two": [(12, 22), (28, 8)]}  # pixels of 50 x 40


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "images").mkdir()
    return write(tmp_path, POINTS)


def write(folder, points):
    rng = np.random.default_rng(0)
    rows = ["image,landmark,x,y"]
    for case, found in points.items():
        Image.fromarray(rng.integers(0, 256, (40, 50)).astype(np.uint8)).save(folder / f"images/{case}.png")
        rows += [f"{case}.png,{name},{x},{y}" for name, (x, y) in zip("ab", found, strict=True)]
    (folder / "points.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize("headers_only", [False, True])
def test_without_a_pixel_size_everything_is_in_pixels(pictures, capsys, headers_only):
    assert inspect(pictures, headers_only=headers_only, workers=1) == 0
    text = capsys.readouterr().out
    assert "unit  px" in text
    assert "--pixel_spacing MM gives it" in text
    assert "50 x 40 pixels (x, y)" in text
    assert "no problem found" in text


def test_with_one_sizes_are_in_mm(pictures, capsys):
    assert inspect(pictures, pixel_spacing=[0.5], workers=1, report=pictures / "report.html") == 0
    text = capsys.readouterr().out
    assert "unit  mm" in text
    assert "25 x 20 mm" in text
    page = (pictures / "report.html").read_text()
    assert page.count("data:image/jpeg") == len(POINTS)
    assert "as its pixels are stored" in page


def test_a_point_outside_is_said_with_its_pixel(pictures, capsys):
    write(pictures, {"one": [(20, 45), (5, 30)], "two": POINTS["two"]})
    assert inspect(pictures, pixel_spacing=[0.5], workers=1) == PROBLEMS_FOUND
    text = capsys.readouterr().out
    assert "landmark 'a' at (10.0, 22.5) mm, pixel [20.0, 45.0] of [50, 40], lies outside the image" in text
    assert "with x and y exchanged" in text
