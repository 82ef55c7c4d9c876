"""The app as MONAI Label loads it: from its folder, by the name of its base class, with strings as configuration."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from app_tools import NAMES, REPOSITORY, oblique_affine, true_world, write_volume
from landmark_app.lib.core.errors import ClientError
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.utils.app import clear_cache
from monailabel.utils.others.class_utils import get_class_of_subclass_from_file

APP = REPOSITORY / "apps" / "landmark_app"
AFFINE = oblique_affine("las")
SHAPE = (20, 22, 18)


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Makes apps, each on an own folder of one image, ``case``."""
    from monailabel.config import settings

    before = settings.MONAI_LABEL_SESSION_PATH, settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD
    settings.MONAI_LABEL_SESSION_PATH = str(tmp_path_factory.mktemp("sessions"))
    settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD = False

    def make(**conf):
        studies = tmp_path_factory.mktemp("studies")
        write_volume(studies / "case.nii.gz", AFFINE, SHAPE)
        (studies / "case.mrk.json").write_text("{}")
        found = get_class_of_subclass_from_file("main", str(APP / "main.py"), "MONAILabelApp")
        return found(str(APP), str(studies), {name: str(value) for name, value in conf.items()})

    yield make
    settings.MONAI_LABEL_SESSION_PATH, settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD = before
    clear_cache()


@pytest.fixture(scope="module")
def app(load, bundles):
    return load(bundles=bundles)


def test_all_bundles_are_loaded_and_nothing_else(app):
    assert list(app.info()["models"]) == [
        name + task for name in ("Jaw.2", "head", "new") for task in ("", "_edit", "_points")
    ]
    assert app.datastore().list_images() == ["case"]


def test_choices_of_the_person_who_starts_it(load, bundles):
    app = load(bundles=bundles, models="head, new", points_format="fiducial", device="cpu")
    assert list(app.bundles) == ["head", "new"]
    config = app.info()["models"]["head_points"]["config"]
    assert config["points_format"] == ["fiducial", "roi"]
    assert config["device"] == ["cpu"]
    answer = app.infer({"model": "head_points", "image": "case"})
    assert answer["file"].endswith(".mrk.json")
    Path(answer["file"]).unlink()


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({}, "--conf bundles FOLDER"),
        ({"bundles": "nowhere"}, "nowhere: is no folder"),
        ({"points_format": "cubes"}, "points_format cubes: allowed are roi, fiducial"),
        ({"models": "heart"}, "has no bundle 'heart'"),
    ],
)
def test_wrong_choices_stop_the_start_with_one_line(load, bundles, conf, message):
    given = {"bundles": bundles, **conf} if conf else {}
    with pytest.raises(MONAILabelException) as raised:
        load(**given)
    assert message in raised.value.msg


def test_only_images_of_the_data_store_and_uploads_are_read(app, tmp_path):
    outside = write_volume(tmp_path / "outside.nii.gz", AFFINE, SHAPE)
    for image in (str(outside), "../case", "case.nii.gz", "", None, 3, [1]):
        with pytest.raises(ClientError):
            app.infer({"model": "head", "image": image})
    upload = write_volume(Path(app.sessions().store_path) / "one" / "upload.nii.gz", AFFINE, SHAPE)
    answer = app.infer({"model": "head", "image": str(upload), "save_label": True})
    points = np.array([item["world"] for item in answer["params"]["landmarks"]])
    np.testing.assert_allclose(points, true_world(AFFINE, SHAPE), atol=0.008)
    # There is no image in the data store that a label could belong to.
    assert answer["label"] == answer["file"]
    Path(answer["file"]).unlink()


def test_a_way_out_of_the_folder_of_uploads_is_closed(app, tmp_path):
    write_volume(tmp_path / "outside.nii.gz", AFFINE, SHAPE)
    link = Path(app.sessions().store_path) / "link.nii.gz"
    link.symlink_to(tmp_path / "outside.nii.gz")
    with pytest.raises(ClientError):
        app.infer({"model": "head", "image": str(link)})
    link.unlink()


def test_an_unknown_model_or_tag_is_refused(app):
    with pytest.raises(ClientError, match="there is no model 'heart'") as raised:
        app.infer({"model": "heart", "image": "case"})
    assert raised.value.status == 404
    for tag in ("../final", "a/b", "$x"):
        with pytest.raises(ClientError):
            app.infer({"model": "head", "image": "case", "label_tag": tag})


def test_a_saved_inference_is_the_canonical_label(app):
    answer = app.infer({"model": "head", "image": "case", "save_label": True, "label_tag": "original"})
    saved = app.datastore().canonical("case", "original")
    assert saved.names == NAMES
    points = np.array([item["world"] for item in answer["params"]["landmarks"]])
    np.testing.assert_allclose(saved.points, points, atol=1e-6)
    Path(answer["file"]).unlink()


def test_an_answer_that_cannot_be_saved_leaves_no_file_behind(app, monkeypatch):
    answer = app.infer({"model": "head", "image": "case"})
    folder = Path(answer["file"]).parent
    Path(answer["file"]).unlink()

    def refuse(*_):
        raise ClientError("no")

    monkeypatch.setattr(app.datastore(), "save_label", refuse)
    with pytest.raises(ClientError):
        app.infer({"model": "head", "image": "case", "save_label": True})
    assert list(folder.iterdir()) == []


def test_answers_do_not_lie_where_clients_keep_them(app):
    """A client on the same machine writes the answer under its name into the temporary folder."""
    for model in ("head", "head_points"):
        path = Path(app.infer({"model": model, "image": "case"})["file"])
        assert path.parent != Path(tempfile.gettempdir())
        shutil.rmtree(path.parent)  # as a machine does that clears old temporary files
