"""What clients send to break the server or its list of images: refused with one line, and nothing is lost."""

import json
import logging
import os
from unittest import mock
from urllib.parse import quote

import pytest
from landmark_app.lib.choosing.strategies import First
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.store.datastore_index import new_entry
from landmark_app.lib.store.datastore_local import LocalLandmarkDatastore
from landmark_app.lib.store.index_repair import repaired
from monailabel.datastore.local import LocalDatastoreModel
from tiny_app import tiny_servers, write_image

EMPTY = LocalDatastoreModel(name="x", description="y")


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with tiny_servers(tmp_path_factory.mktemp("hostile")) as both:
        yield both


def opened(folder, **options):
    return LocalLandmarkDatastore(str(folder), bundles=lambda: {"b": ("AC",)}, extensions=("*.nii.gz",), **options)


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b", "c"):
        write_image(tmp_path / "studies" / f"{name}.nii.gz")
    return tmp_path / "studies"


def is_refusal(answer, status=400):
    message = answer.json()["error"]
    return answer.status_code == status and message and "\n" not in message


BAD_INFO = [
    r'{"note": "\ud800"}',
    r'{"\udfff": 1}',
    r'{"a": {"b": ["x", "\ud83d"]}}',
    '{"note": NaN}',
    '{"note": [-Infinity]}',
    '{"note": 1e999}',
    '{"note": 1' + "0" * 30 + "}",
    '{"note": ' + "9" * 5000 + "}",
    r'{"note": "a\u0000b"}',
    r'{"note": "a\u001b[2J"}',
    '{"' + "k" * 300 + '": 1}',
    '{"note": ' + "[" * 12 + "]" * 12 + "}",
    '{"note": ' + "[" * 100_000 + "]" * 100_000 + "}",
    '{"note": [' + "0," * 150_000 + "0]}",
]


@pytest.mark.parametrize("info", BAD_INFO, ids=range(len(BAD_INFO)))
def test_info_that_nobody_could_read_again(servers, info):
    before = servers.ours.get("/datastore/image/info?image=case0").json()
    assert is_refusal(servers.ours.put("/datastore/image/info?image=case0", data={"info": info}))
    assert servers.ours.get("/datastore/image/info?image=case0").json() == before


BAD_FIELDS = [
    {"strategy": "abc"},
    {"strategy": {"first": "abc"}},
    {"strategy": {"first": {"ts": "x"}}},
    {"strategy": [1]},
    {"landmark_error": "abc"},
    {"ts": "now"},
    {"name": {}},
    {"path": 1},
    {"label_info": "abc"},
    {"params": []},
    {"model": ["a"]},
    {"notes": "abc"},
]


@pytest.mark.parametrize("info", BAD_FIELDS, ids=str)
def test_fields_that_the_server_reads_itself(servers, info):
    answer = servers.ours.put("/datastore/image/info?image=case0", data={"info": json.dumps(info)})
    assert is_refusal(answer)
    assert next(iter(info)) in answer.json()["error"]
    good = {"strategy": {"first": {"ts": 1}}, "landmark_error": None, "mine": "abc"}
    answer = servers.ours.put("/datastore/image/info?image=case0", data={"info": json.dumps(good)})
    assert answer.status_code == 200


def test_a_note_of_a_strategy_that_is_none_is_harmless(servers, folder):
    store = opened(folder)
    for noted in ("abc", [1], 3, {"first": "abc"}, {"first": {"ts": "x"}}):
        store.update_image_info("a", {"strategy": noted})
        assert First()({"strategy": "first"}, store) == {"id": "a"}
    from monailabel.interfaces.utils.app import app_instance

    app_instance().datastore().update_image_info("case0", {"strategy": "abc"})
    app_instance().datastore().update_image_info("case1", {"strategy": "abc"})
    with mock.patch.dict(app_instance()._strategies, first=First()):
        assert servers.ours.post("/activelearning/first", json={}).json()["id"] == "case0"
    noted = app_instance().datastore().get_image_info("case0")["strategy"]
    assert list(noted) == ["first"]


def test_what_is_said_is_readable_again_or_not_written(folder):
    store = opened(folder)
    before = (folder / "datastore_v2.json").read_bytes()
    for info in ({"note": "\ud800"}, {"\ud800": 1}, {"note": float("nan")}):
        with pytest.raises(ClientError, match="read again"):
            store.update_image_info("a", info)
        assert (folder / "datastore_v2.json").read_bytes() == before
        assert "note" not in opened(folder).get_image_info("a")


def test_one_broken_entry_costs_no_other(folder, caplog):
    """The list as an older version of this server wrote it."""
    store = opened(folder)
    for name in ("a", "b", "c"):
        store.update_image_info(name, {"note": f"of {name}"})
    path = folder / "datastore_v2.json"
    content = json.loads(path.read_text())
    content["objects"]["b"]["image"]["info"]["evil"] = "\ud800"
    path.write_text(json.dumps(content))
    with caplog.at_level(logging.ERROR):
        again = opened(folder)
    assert [again.get_image_info(name)["note"] for name in ("a", "b", "c")] == ["of a", "of b", "of c"]
    assert again.get_image_info("b")["evil"] == "?"
    assert "'b'" in caplog.text
    assert len(list(folder.glob("datastore_v2.json.broken-*"))) == 1
    LocalDatastoreModel.model_validate_json(path.read_text())


def test_what_can_be_saved_of_a_list():
    entries = {name: new_entry(name, ".nii.gz", {"note": name}).model_dump() for name in ("a", "b", "c")}
    whole = json.dumps({"name": "x", "description": "y", "objects": entries})
    index, notes = repaired(whole.encode(), EMPTY)
    assert (list(index.objects), notes) == (["a", "b", "c"], [])
    # Cut anywhere: every entry before the cut is there, and nothing is made up.
    for cut in range(len(whole)):
        found = repaired(whole[:cut].encode(), EMPTY)[0].objects
        assert list(found) == ["a", "b", "c"][: len(found)]
        assert all(one.image.info["note"] == name for name, one in found.items())
        last = [
            name for name in entries if whole.find(json.dumps(entries[name])) + len(json.dumps(entries[name])) <= cut
        ]
        assert list(found) == last
    damaged = {**entries, "b": {"image": {"ext": ".nii.gz", "info": 3}}, "d": 7}
    index, notes = repaired(json.dumps({"objects": damaged}).encode(), EMPTY)
    assert (list(index.objects), len(notes)) == (["a", "b", "c"], 2)
    assert repaired(b"\xff\xfe\x00", EMPTY)[0].objects == {}
    assert repaired(b"[" * 200_000, EMPTY)[0].objects == {}


def test_a_file_name_that_is_no_text_is_no_image(folder):
    (folder / "a.nii.gz").rename(os.fsdecode(os.fsencode(folder / "b") + b"\xff.nii.gz"))
    assert opened(folder).list_images() == ["b", "c"]


@pytest.mark.parametrize("host", ["[bad", "bad]", "a b", "a/b", "[::1", "x:99999999", "ü"])
def test_a_host_that_is_none(servers, host):
    assert is_refusal(servers.ours.get("/info/", headers={"Host": host.encode()}))


@pytest.mark.parametrize("origin", ["http://[bad", "null", "http://", "\\"])
def test_an_origin_that_is_none(servers, origin):
    answer = servers.ours.post("/activelearning/random", json={}, headers={"Origin": origin})
    assert is_refusal(answer, 403)


IDS = ["é" * 200, "é" * 113, "a" * 226, "x\x00", "x\ny", "../x", "漢" * 100, "a" * 10_000]


@pytest.mark.parametrize("image", IDS, ids=range(len(IDS)))
@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("GET", "/datastore/image?image={}"),
        ("GET", "/datastore/image/info?image={}"),
        ("GET", "/datastore/label?tag=final&label={}"),
        ("GET", "/datastore/label/info?tag=final&label={}"),
        ("DELETE", "/datastore/image?id={}"),
        ("POST", "/infer/slow?image={}"),
    ],
)
def test_a_name_that_no_file_could_have(servers, method, address, image):
    assert is_refusal(servers.ours.request(method, address.format(quote(image))))


def test_the_longest_names_are_names(servers, tmp_path):
    content = write_image(tmp_path / "x.nii.gz").read_bytes()
    for name in ("é" * 112, "a" * 200):
        answer = servers.ours.put("/datastore/image", params={"image": name}, files={"file": ("x.nii.gz", content)})
        assert answer.json() == {"image": name}
        assert servers.ours.delete("/datastore/image", params={"id": name}).status_code == 200


# ------------------------------------------------------------ links


@pytest.fixture
def outside(tmp_path):
    return write_image(tmp_path / "elsewhere" / "secret.nii.gz")


def test_a_link_out_of_the_folder_is_no_image(folder, outside, caplog):
    (folder / "link.nii.gz").symlink_to(outside)
    (folder / "chain.nii.gz").symlink_to(folder / "link.nii.gz")
    (folder / "inner.nii.gz").symlink_to(folder / "a.nii.gz")
    (folder / "circle.nii.gz").symlink_to(folder / "circle.nii.gz")
    with caplog.at_level(logging.WARNING):
        store = opened(folder)
    assert sorted(store.list_images()) == ["a", "b", "c", "inner"]
    assert "--follow_links" in caplog.text
    asked_for = opened(folder, follow_links=True)
    assert {"link", "chain"} <= set(asked_for.list_images())
    assert asked_for.get_image_uri("link") == str(outside.resolve())


def test_an_image_that_becomes_a_link(folder, outside):
    store = opened(folder)
    (folder / "a.nii.gz").unlink()
    (folder / "a.nii.gz").symlink_to(outside)
    with pytest.raises(ClientError, match="link") as refused:
        store.get_image_uri("a")
    assert refused.value.status == 403


def test_a_folder_of_images_may_itself_be_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert len(opened(tmp_path / "link").list_images()) == 3


MARKUPS = {
    "markups": [
        {
            "type": "Fiducial",
            "coordinateSystem": "LPS",
            "controlPoints": [{"label": "AC", "position": [-1.0, -2.0, 3.0], "positionStatus": "defined"}],
        }
    ]
}


def test_links_among_the_labels(folder, tmp_path):
    label = tmp_path / "label.mrk.json"
    label.write_text(json.dumps(MARKUPS))
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    (secret / "a.mrk.json").write_text(json.dumps(MARKUPS))
    store = opened(folder)
    (folder / "labels/final/a.mrk.json").symlink_to(secret / "a.mrk.json")
    (folder / "labels/linked").symlink_to(secret)
    assert store.get_label_uri("a", "final") == store.get_label_uri("a", "linked") == ""
    assert "linked" not in store.label_files.tags()
    with pytest.raises(ClientError, match="link"):
        store.save_label("a", str(label), "linked", {})
    assert sorted(path.name for path in secret.iterdir()) == ["a.mrk.json"]
    # A label that is saved takes the place of the link, not of the file behind it.
    before = (secret / "a.mrk.json").read_bytes()
    store.save_label("a", str(label), "final", {})
    assert not (folder / "labels/final/a.mrk.json").is_symlink()
    assert (secret / "a.mrk.json").read_bytes() == before
    assert opened(folder, follow_links=True).get_label_uri("a", "linked") == str(folder / "labels/linked/a.mrk.json")


def test_a_body_without_a_file_is_small(servers):
    """It is read into memory and parsed at once."""
    for method, path in [
        ("POST", "/activelearning/first"),
        ("POST", "/train/tiny"),
        ("POST", "/batch/infer/tiny"),
        ("PUT", "/datastore/image/info?image=case0"),
        ("POST", "/auth/token"),
        ("POST", "/missing"),
    ]:
        for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain"):
            answer = servers.ours.request(method, path, content=b" " * (3 * 2**20), headers={"Content-Type": kind})
            assert is_refusal(answer, 413), (path, kind)
