"""The configs of every kind of bundle have the ids that the zoo asks for; faults are planted in test_verify.py."""

import json

import pytest
from contract_parts import LANDMARKS, kinds, plan_of

from auto_config.bundle import configs
from auto_config.verification.keys import check_keys

KINDS = [(method, dims) for dims in (2, 3) for method in kinds(dims)]


@pytest.mark.parametrize(("method", "dims"), KINDS)
def test_what_is_written_for_each_method_passes(tmp_path, method, dims):
    plan = plan_of(method, dims, None)
    (tmp_path / "configs").mkdir()
    for name, content in (
        ("train", configs.train_config(plan, LANDMARKS, "/data", 0, pretrained=True)),
        ("inference", configs.inference_config(plan, LANDMARKS)),
    ):
        (tmp_path / "configs" / f"{name}.json").write_text(json.dumps(content))
    findings = check_keys(tmp_path)
    assert len(findings) == 5
    assert {str(finding) for finding in findings if finding.state != "ok"} == set()


def test_a_config_that_cannot_be_read_is_left_to_the_check_of_files(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").write_text("{")
    assert check_keys(tmp_path) == []
    (tmp_path / "configs" / "train.json").write_text("[]")
    assert check_keys(tmp_path) == []


@pytest.mark.parametrize(
    ("written", "state"),
    [("@##preprocessing", "ok"), ("@##handlers", "failed"), ("$@train#preprocessing", "ok"),
     ("$@train#preprocessing_of_mine", "failed")],
)  # fmt: skip
def test_ids_may_be_relative_and_are_whole(tmp_path, written, state):
    train = configs.train_config(plan_of("default", 3, None), LANDMARKS, "/data", 0)
    train["train"]["dataset"]["transform"] = written
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").write_text(json.dumps(train))
    found = [finding.state for finding in check_keys(tmp_path) if "ids of parts in configs/train.json" in str(finding)]
    assert found == [state]


def test_ids_may_be_written_whole_and_with_the_newer_sign(tmp_path):
    """`validate#key_metric` as a key of its own, and `@validate::key_metric` for it."""
    plan = plan_of("default", 3, None)
    train = configs.train_config(plan, LANDMARKS, "/data", 0)
    train["validate#key_metric"] = train["validate"].pop("key_metric")
    train["validate"]["evaluator"]["key_val_metric"] = "@validate::key_metric"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").write_text(json.dumps(train))
    assert {finding.state for finding in check_keys(tmp_path)} == {"ok"}
