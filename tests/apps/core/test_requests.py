"""Options, ids and tags of requests: what passes, what does not, and that no expression ever passes."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.core.requests import check_plain, image_id, parse_params, session_id, tag
from landmark_app.lib.tasks.task_options import (
    batch_options,
    declared_checks,
    infer_options,
    sample_options,
    scoring_options,
    train_options,
)

few = settings(max_examples=60, deadline=None, derandomize=True)
DEVICES = ["cpu"]
INFO = {
    "labels": {"Nose tip": 1, "label": 2},
    "config": {"device": ["cpu"], "save_label": False, "label_tag": ["original", "final"], "overlap": 0.5},
}
TRAINER = {"device": ["cpu"], "max_epochs": 50, "pretrained": True, "val_split": 0.2, "gpus": "all", "name": ""}

plain = st.one_of(st.none(), st.booleans(), st.integers(), st.text(alphabet="abc XYZ0$@%_", max_size=6))
trees = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab_$@", max_size=4), inner, max_size=3)
)


def means_something(value):
    """Whether a config parser would do more with a value than keep it."""
    if isinstance(value, dict):
        own = any(len(key) > 2 and key[0] == key[-1] == "_" for key in value)
        return own or any(map(means_something, [*value, *value.values()]))
    if isinstance(value, list):
        return any(map(means_something, value))
    return isinstance(value, str) and value.lstrip()[:1] in {"$", "@", "%"}


@few
@given(trees)
def test_plain_values_are_those_that_no_parser_acts_on(value):
    try:
        check_plain(value, "params")
        passed = True
    except ClientError:
        passed = False
    # Stricter is allowed, and only for keys between underscores.
    assert not (passed and means_something(value))
    assert passed or means_something(value) or "_" in str(value)


@pytest.mark.parametrize(
    "value",
    [
        "$open('/x','w')",
        "  $1",
        "@network",
        "%file.json#a",
        ["a", ["$1"]],
        {"a": {"b": "$1"}},
        {"$a": 1},
        {"_target_": "os.system", "command": "x"},
        math.nan,
        [math.inf],
    ],
)
def test_what_a_parser_would_act_on_is_refused(value):
    with pytest.raises(ClientError):
        check_plain(value, "params")


def test_values_that_lie_too_deep_are_refused():
    value = "a"
    for _ in range(12):
        value = [value]
    with pytest.raises(ClientError, match="more than 8 times"):
        check_plain(value, "params")


@pytest.mark.parametrize("text", ["{", "[1]", "1", '"a"', "[" * 100_000, '{"a": "$1"}', '{"a": NaN}'])
def test_params_that_are_no_plain_json_object_are_refused(text):
    with pytest.raises(ClientError, match="params"):
        parse_params(text)


def test_params_are_read():
    assert parse_params("") == {}
    assert parse_params('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    "name", ["case0", "1.2.840.10008.5.1", "sub-01_ses-1 (2)", "Müller", "Mu\u0308ller", "頭部01", "a..b", "x" * 200]
)
def test_real_names_of_images_pass(name):
    assert image_id(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", ".hidden", "$x", "@x", "%2e", " a", "a ", "a.", "a\nb", "a\0"]
    + ["x" * 201, "C:\\x", "~root"],
)
def test_other_names_of_images_do_not(name):
    with pytest.raises(ClientError, match="image"):
        image_id(name)


@few
@given(st.text(max_size=30))
def test_an_image_id_never_leaves_its_folder(name):
    from pathlib import Path

    try:
        image_id(name)
    except ClientError:
        return
    assert (Path("/store") / name).parent == Path("/store")
    assert Path(name).name == name


@few
@given(st.text(alphabet="abZ09._-/\\ ~$", max_size=12))
def test_a_tag_never_leaves_its_folder(name):
    from pathlib import Path

    try:
        tag(name)
    except ClientError:
        return
    assert Path(name).name == name
    assert not name.startswith(".")


def test_tags_and_sessions():
    assert tag("final") == "final"
    for wrong in ("", "..", "../d", "a/b", "a b", "$a", "x" * 65):
        with pytest.raises(ClientError, match="tag"):
            tag(wrong)
    name = "12345678-1234-1234-1234-123456789abc"
    assert session_id(name) == name
    for wrong in ("", "..", name.upper(), name + "/..", "../" + name):
        with pytest.raises(ClientError, match="session"):
            session_id(wrong)


def test_options_of_an_inference_keep_what_the_clients_send():
    slicer = {"result_extension": ".nrrd", "result_dtype": "uint8", "client_id": None, "label": "Nose tip"}
    assert infer_options({**slicer, "label": []}, "m", INFO, DEVICES) == {
        "result_extension": ".nrrd",
        "result_dtype": "uint8",
        "client_id": "",
        "label": [],
    }
    ohif = {"background": [], "Nose tip": [[24, 26, 15]], "result_compress": False, "restore_label_idx": False}
    assert infer_options(ohif, "m", INFO, DEVICES) == ohif
    # Labels of other models without clicks, and choices that nobody made.
    given = {"another": [], "device": ["cpu"], "label_tag": "final", "save_label": "true", "overlap": "0.25"}
    expected = {"device": "cpu", "label_tag": "final", "save_label": True, "overlap": 0.25}
    assert infer_options(given, "m", INFO, DEVICES) == expected


def test_the_name_of_the_selected_label_is_dropped():
    info = {**INFO, "labels": {"Nose tip": 1}}
    assert infer_options({"label": "Nose tip"}, "m", info, DEVICES) == {}
    with pytest.raises(ClientError, match="label"):
        infer_options({"label": "/etc/passwd"}, "m", info, DEVICES)


@pytest.mark.parametrize(
    "params",
    [
        {"image": "/etc/passwd"},
        {"model": "another"},
        {"bundle_path": "/x"},
        {"session": {}},
        {"device": "$1"},
        {"device": "cuda:7"},
        {"device": ["cpu", "$1"]},
        {"overlap": "$1"},
        {"overlap": True},
        {"overlap": 1e999},
        {"save_label": 1},
        {"label_tag": "../../x"},
        {"label_tag": ["final"], "another": [[1, 2, 3]]},
        {"result_extension": "/../../x.nrrd"},
        {"result_extension": ".exe"},
        {"result_dtype": "object"},
        {"logging": "$1"},
        {"Nose tip": [[1, 2]] * 1001},
        {"Nose tip": [["$1", 2, 3]]},
        {"Nose tip": [[1, 2, 3, 4]]},
        {"Nose tip": "1,2,3"},
        {"label_info": [{"name": "$1"}]},
        {"label_info": "a"},
        {"client_id": "a\nb"},
        {"client_id": "a" * 1001},
    ],
)
def test_options_of_an_inference_that_are_refused(params):
    with pytest.raises(ClientError) as refused:
        infer_options(params, "m", INFO, DEVICES)
    assert refused.value.status == 400
    assert "\n" not in str(refused.value)


def test_options_of_a_training():
    given = {"max_epochs": "5", "pretrained": False, "val_split": 0, "gpus": "0,1", "run_id": "", "client_id": None}
    expected = {**given, "max_epochs": 5, "client_id": ""}
    checked = train_options({**given, "model": "m"}, "m", TRAINER, DEVICES)
    assert checked == expected
    assert type(checked["max_epochs"]) is int
    assert type(checked["val_split"]) is float


@pytest.mark.parametrize(
    "params",
    [
        {"max_epochs": "$open('/x','w').write('x')"},
        {"max_epochs": 2.5},
        {"max_epochs": [1]},
        {"device": "$open('/x')"},
        {"gpus": "0; rm"},
        {"run_id": "$1"},
        {"run_id": "initialize"},
        {"tracking_uri": "file:///x"},
        {"name": "@a"},
        {"bundle_path": "/x"},
        {"dataset": "Dataset"},
    ],
)
def test_options_of_a_training_that_are_refused(params):
    with pytest.raises(ClientError):
        train_options(params, "m", TRAINER, DEVICES)


def test_options_of_batches_scoring_and_samples():
    batch = {"multi_gpu": False, "gpus": "all", "max_workers": 1, "save_label": True, "label_tag": "original"}
    assert batch_options({**batch, "overlap": 0.1}, "m", INFO, DEVICES) == {**batch, "overlap": 0.1}
    with pytest.raises(ClientError, match="images"):
        batch_options({"images": "$1"}, "m", INFO, DEVICES)
    assert scoring_options({"y": "final"}, "mre", {}) == {"y": "final"}
    with pytest.raises(ClientError, match="tag"):
        scoring_options({"y": "../x"}, "mre", {})
    assert sample_options({"client_id": "slicer"}, "random", {}) == {"client_id": "slicer"}
    with pytest.raises(ClientError, match="no option"):
        sample_options({"strategy": "first"}, "random", {})


@few
@given(
    st.dictionaries(st.sampled_from([*TRAINER, "run_id", "image", "x"]), trees | st.floats(), max_size=4),
)
def test_checked_options_have_the_declared_types_and_no_expression(params):
    try:
        checked = train_options(params, "m", TRAINER, DEVICES)
    except ClientError:
        return
    assert not means_something(checked)
    for name, value in checked.items():
        default = TRAINER.get(name, "")
        assert type(value) is (str if isinstance(default, (list, str)) else type(default)) or value == []


def test_the_type_of_a_default_decides():
    checks = declared_checks({"a": True, "b": 1, "c": 1.0, "d": "x", "e": ["u", "v"], "f": {"u": 1}})
    given = {"a": "False", "b": 2.0, "c": 1, "d": None, "e": "v", "f": "u"}
    assert {name: checks[name](name, value) for name, value in given.items()} == {
        "a": False,
        "b": 2,
        "c": 1.0,
        "d": "",
        "e": "v",
        "f": "u",
    }
