"""Which images `predict` takes, and what it calls their cases."""

import pytest

from auto_config.errors import UserError
from auto_config.prediction_input import find_images


def test_an_image_or_a_folder(tmp_path):
    with pytest.raises(UserError, match="is not there"):
        find_images(tmp_path / "none")
    with pytest.raises(UserError, match="holds no image"):
        find_images(tmp_path)
    (tmp_path / "text.txt").write_text("")
    with pytest.raises(UserError, match="not an image that can be read"):
        find_images(tmp_path / "text.txt")
    (tmp_path / "images").mkdir()
    for name in ("b.nrrd", "a.nii.gz"):
        (tmp_path / "images" / name).write_text("")
    assert list(find_images(tmp_path)) == ["a", "b"]
    assert find_images(tmp_path / "images/b.nrrd") == {"b": (tmp_path / "images/b.nrrd",)}
    (tmp_path / "images/a.mha").write_text("")
    with pytest.raises(UserError, match="has the same name as"):
        find_images(tmp_path)
