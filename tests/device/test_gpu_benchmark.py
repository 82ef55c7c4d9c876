"""The benchmark for a GPU runs its whole logic on a CPU, and a part that fails is a row."""

import importlib.util
import json
import time
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_whole_logic_runs_on_a_cpu(gpu, tmp_path, capsys, monkeypatch):
    # A compiler is not for a test of seconds.
    monkeypatch.setattr(gpu.torch, "compile", lambda stage: stage)
    assert gpu.main([str(tmp_path / "out.json"), "--device", "cpu", "--quick"]) == 0
    parts = {row["part"]: row for row in json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["parts"]}
    assert [name.partition(":")[0] for name in parts] == [
        "loss, fused against naive",
        "training",
        "prediction",
        "ways",
    ]
    assert all("error" not in row for row in parts.values()), parts
    assert parts["training: tiny, default"]["steps"] >= 1
    assert parts["prediction: tiny, default"]["network_calls"] > 0
    # What a CPU cannot is said in its place.
    assert parts["ways: tiny, default"]["cuda_graph_ratio"].startswith("error: ")
    assert "says nothing about a GPU" in capsys.readouterr().out


def test_a_part_that_fails_or_takes_too_long_is_a_row(gpu):
    def fails():
        raise RuntimeError("CUDA out of memory\nand more")

    assert gpu.attempt("a", 5.0, fails)["error"] == "RuntimeError: CUDA out of memory"
    late = gpu.attempt("b", 0.05, lambda: time.sleep(5) or {})
    assert late["error"].startswith("OutOfTimeError") and late["took_s"] < 4
    assert gpu.attempt("c", 5.0, lambda: {"x": 1.0})["x"] == 1.0


def test_without_a_gpu_it_says_so_in_one_line(gpu, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    assert gpu.main([str(tmp_path / "out.json")]) == 2
    assert capsys.readouterr().err.startswith("error: ") and not (tmp_path / "out.json").exists()
