"""Inference of many images: which ones, with what options, and what happens to those that fail."""

import pytest
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.tasks.batch import LandmarkBatch, check_batch


class Images:
    """A data store with three images, of which one is labelled."""

    def list_images(self):
        return ["c", "a", "b"]

    def get_labeled_images(self, *_):
        return ["b"]

    def get_unlabeled_images(self, *_):
        return ["c", "a"]


def run(request, answers=None, folder=None):
    """The answer, and the requests that the app's inference got."""
    asked = []

    def infer(one, store):
        asked.append(one)
        answer = (answers or {}).get(one["image"])
        if isinstance(answer, Exception):
            raise answer
        file = None
        if folder is not None:
            file = folder / f"{one['image']}.nrrd"
            file.write_text("temporary")
        return {"label": f"{one['image']}.id", "file": file and str(file), "params": {}}

    return LandmarkBatch()({"model": "head", **request}, Images(), infer), asked


@pytest.mark.parametrize(
    ("images", "expected"),
    [("all", "abc"), ("labeled", "b"), ("unlabeled", "ac"), (["c", "b"], "bc")],
)
def test_which_images(images, expected):
    done, asked = run({"images": images})
    assert "".join(done) == "".join(one["image"] for one in asked) == expected


def test_the_first_few():
    assert list(run({"max_batch_size": 2})[0]) == ["a", "b"]


def test_what_the_server_itself_asks_for_works_without_a_gpu():
    stock = {"device": "cuda", "multi_gpu": True, "gpus": "all", "max_workers": 1, "max_batch_size": 0}
    done, asked = run({**stock, "points_format": "roi"})
    assert done == {"a": {"label": "a.id"}, "b": {"label": "b.id"}, "c": {"label": "c.id"}}
    assert {one["label_tag"] for one in asked} == {"original"}
    assert {one["save_label"] for one in asked} == {True}
    assert {one["points_format"] for one in asked} == {"roi"}


def test_temporary_files_are_removed(tmp_path):
    run({}, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_that_cannot_be_read_is_named_and_the_rest_goes_on(capsys):
    answers = {"a": ClientError("a: cannot be read", 422), "b": RuntimeError("deep inside\nof a transform")}
    done, _ = run({}, answers)
    assert done == {"a": {"error": "a: cannot be read"}, "b": {"error": "deep inside"}, "c": {"label": "c.id"}}
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "1/3 a: a: cannot be read",
        "2/3 b: deep inside",
        "3/3 c: done",
        "1 of 3 images have landmarks, 2 failed",
    ]


@pytest.mark.parametrize(
    ("request_", "answers", "said"),
    [
        ({}, dict.fromkeys("abc", ValueError("no")), "error: none of 3 images could be used: no"),
        ({}, {"a": ClientError("bundle 'head' has no weights yet", 409)}, "error: bundle 'head' has no weights yet"),
        ({"images": "some"}, {}, "error: images is 'some'; give one of all, labeled, unlabeled"),
        ({"label_tag": "final"}, {}, "error: label_tag is final, which people's labels have"),
        ({"max_batch_size": -1}, {}, "error: max_batch_size is -1"),
        ({"device": "cuda:9"}, {}, "error: device is 'cuda:9', which this server does not have"),
    ],
)
def test_a_failure_is_the_last_line(request_, answers, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(request_, answers)
    assert capsys.readouterr().out.splitlines()[-1].startswith(said)


def test_a_bundle_without_weights_is_asked_once():
    asked = []

    def infer(one, store):
        asked.append(one)
        raise ClientError("no weights", 409)

    with pytest.raises(SystemExit):
        LandmarkBatch()({"model": "head"}, Images(), infer)
    assert len(asked) == 1


def test_options_are_checked_before_a_process_starts():
    assert check_batch({})["label_tag"] == "original"
    with pytest.raises(ClientError):
        check_batch({"save_label": "$x"})
