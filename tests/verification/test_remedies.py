"""`verify`: whatever fails comes with what to do about it, also where the code of the bundle ends in an error."""

import pytest
import torch

from auto_config.verification import monai_checks
from auto_config.verification.finding import Finding

CHECKS = (
    "properties of inference",
    "properties of training",
    "properties of evaluation",
    "verify_net_in_out",
    "ckpt_export, scripted",
    "onnx_export",
)


@pytest.mark.parametrize("problem, remedy", [("", ""), ("is wrong", ""), ("", "repair it")])
def test_no_failure_is_without_problem_or_remedy(problem, remedy):
    with pytest.raises(ValueError, match="failed without a"):
        Finding("name", "failed", problem, remedy)


def test_each_check_that_ends_in_an_error_has_a_remedy_of_its_own(tmp_path, monkeypatch):
    """A folder with weights alone fails everywhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    torch.save({}, tmp_path / "models" / "model.pt")
    findings = monai_checks.check(tmp_path, None)
    assert tuple(f.what for f in findings) == CHECKS
    for finding in findings:
        assert finding.state == "failed"
        assert finding.problem
    remedies = [finding.remedy for finding in findings]
    assert len(set(remedies)) == len(CHECKS)
    for remedy, file in zip(
        remedies, ("inference", "train", "evaluate", "metadata", "inference", "inference"), strict=True
    ):
        assert f"configs/{file}.json" in remedy


def test_an_export_that_gives_something_else_is_said_with_a_remedy():
    wanted = torch.tensor([[0.0, 2.0]])
    assert monai_checks._difference(wanted, wanted + 1e-4) is None
    for found, problem in (
        (wanted[:, :1], "gives (1, 1), the network (1, 2)"),
        (wanted + 0.1, "its output is 0.05 of the largest value off"),
        (wanted * float("nan"), "its output is nan of the largest value off"),
    ):
        state, said, remedy = monai_checks._difference(wanted, found)
        assert (state, said) == ("failed", problem)
        assert "forward of the network" in remedy
