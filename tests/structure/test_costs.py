"""`benchmarks/costs.py` measures: each side of each row does its work at a small size, and both find the same."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def costs(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    yield importlib.import_module("costs")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("costs", "costing")]:
        del sys.modules[name]


def work(row, which):
    return getattr(importlib.import_module(f"costing.{row.part}"), which)(row.quick)


def test_each_side_does_its_work(costs, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    measuring = importlib.import_module("costing.measuring")
    for row in costs.ROWS:
        for which in ("ours", "usual"):
            found = measuring.measured(work(row, which), 1)
            assert found["seconds"] > 0 and found["mb"] >= 0, (row.work, which)


def test_memory_that_did_not_grow_is_none(costs, monkeypatch):
    """Linux' count of a process's largest memory may fall by a few pages."""
    measuring = importlib.import_module("costing.measuring")
    read = iter([512.3, 512.2])
    monkeypatch.setattr(measuring, "process_memory", lambda: next(read))
    assert measuring.measured(lambda: None, 1)["mb"] == 0


def test_what_stands_in_for_a_network_is_no_cost(costs, monkeypatch):
    """Neither its seconds nor its outputs, of the quickest of some turns."""
    measuring = importlib.import_module("costing.measuring")
    apart = measuring.Apart()
    monkeypatch.setattr(measuring, "APART", apart)
    read = iter([100.0, 150.0])
    monkeypatch.setattr(measuring, "process_memory", lambda: next(read))
    now = iter([0.0, 1.0, 4.0, 5.0, 10.0, 10.5, 17.5, 18.0])  # a turn of 5 s and one of 8, 3 and 7 of them apart
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: next(now))

    def work():
        with apart.network(held_mb=20.0):
            pass

    assert measuring.measured(work, 2) == {"seconds": 1.0, "mb": 30.0}


def test_both_sides_find_the_same(costs):
    rows = {row.part: row for row in costs.ROWS}
    assert work(rows["loss"], "ours")() == pytest.approx(work(rows["loss"], "usual")(), rel=1e-4)
    points = work(rows["inference"], "ours")()[0, :, :3]
    assert float((points - work(rows["inference"], "usual")()).abs().max()) < 6  # its voxel, before the mean shift
    assert importlib.import_module("costing.inference").windows(300, 96) == 216


def test_expected_places_take_few_windows_and_find_the_same(costs):
    rows, counts = {row.part: row for row in costs.ROWS}, importlib.import_module("costing.windows").COUNTS
    few = work(rows["windows"], "ours")()
    seen = counts["windows"]
    every = work(rows["windows"], "usual")()
    assert seen < counts["windows"] / 2
    assert float((few - every)[0, :, :4].abs().max()) < 1e-3


def test_a_side_that_fails_is_said(costs):
    with pytest.raises(RuntimeError, match=r"loss\.nobody"):
        importlib.import_module("costing.measuring").in_a_process(ROOT / "benchmarks" / "costs.py", "loss.nobody", {})


def test_memory_is_that_of_the_process_and_what_its_children_have_for_themselves(costs):
    memory = importlib.import_module("costing.memory")
    program = "import time; kept = b'x' * (200 << 20); time.sleep(1)"
    assert 200 < memory.run([sys.executable, "-c", program]).process < 260
    with pytest.raises(RuntimeError, match="nothing to divide"):
        memory.run([sys.executable, "-c", "raise SystemExit('nothing to divide')"])
    forked = (
        "import os, sys\nkept = b'x' * (100 << 20)\n"
        "if os.fork() == 0:\n"
        "    own = b'y' * (50 << 20); print('ready', flush=True); sys.stdin.read(); os._exit(0)\n"
        "os.wait()"
    )
    words = [sys.executable, "-c", forked]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "ready\n"
        (child,) = memory.children(parent.pid)
        # What it had when it was forked belongs to both.
        assert 50 < memory.private_mb(child) < 75
        parent.communicate("")
    assert memory.children(parent.pid) == [] and memory.private_mb(child) == 0


def test_cases_of_the_scaling_are_read_by_their_headers(costs, tmp_path):
    headers = importlib.import_module("costing.headers")
    everything = headers.make_cases(tmp_path / "all", 12)
    found = headers.usual({"folder": str(everything), "cases": 10})()
    assert len(found) == 10 and all(shape == (8, 8, 8) and points.shape == (10, 3) for shape, _, points in found)
    headers.ours({"folder": str(everything), "cases": 10})()  # raises where a file cannot be read


def test_the_scaling_has_the_sizes_that_are_promised_and_leaves_out_what_takes_too_long(costs, tmp_path):
    scaling = importlib.import_module("costing.scaling")
    landmarks, volume, cases = scaling.columns(tmp_path, quick=False)
    assert (landmarks.values[0], landmarks.values[-1]) == (5, 200)
    assert (volume.values[0], volume.values[-1]) == (64, 512)
    assert (cases.values[0], cases.values[-1]) == (10, 10_000)
    assert not scaling._too_long([], 512, 3)
    assert not scaling._too_long([[64, 1.0, 5.0]], 256, 3)  # 64 s
    assert scaling._too_long([[64, 2.0, 5.0]], 256, 3)


@pytest.mark.parametrize(
    ("aim", "said"),
    [
        ({}, ""),
        ({"faster": 5}, "5 times faster: missed (4)"),
        ({"faster": 4, "memory_share": 0.3}, "4 times faster: reached; 0.3 of the memory: reached"),
        ({"seconds": 1, "memory_mb": 500}, "1 s: missed (2); 500 MB: reached"),
        ({"memory_share": 1 / 3}, "0.33 of the memory: reached"),
        ({"memory_share": 0.1}, "0.1 of the memory: missed (0.25)"),
        ({"windows": 40}, "40 windows: reached"),
        ({"windows": 26}, "26 windows: missed (27)"),
    ],
)
def test_an_aim_is_reached_or_missed(costs, aim, said):
    aims = importlib.import_module("costing.aims")
    ours, usual = {"seconds": 2.0, "mb": 500.0, "windows": 27}, {"seconds": 8.0, "mb": 2000.0}
    assert aims.verdict(aims.Aim(**aim), ours, usual) == said


def test_the_table_has_a_cell_for_every_column(costs, capsys, monkeypatch):
    monkeypatch.setattr(costs, "compare", lambda row, **_: {w: {"seconds": 4.0, "mb": 9.0} for w in ("ours", "usual")})
    (samples,) = (row for row in costs.ROWS if row.part == "samples")
    costs.table([samples], quick=True, turns=1)
    *_, header, rule, line = capsys.readouterr().out.splitlines()
    assert header.count("|") == rule.count("|") == line.count("|")
    assert "| 1 s | 1 s |" in line and line.endswith("| 0.8 s: missed (1) |")  # four samples a run
