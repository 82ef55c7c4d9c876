"""The marked commands of the pages are run, in their order, on small data; the code in Python too."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from bundle_tools import Server
from doc_pages import PAGES, ROOT, blocks, commands
from walk import Walk

import auto_config.api.training
from auto_config.api.training import Training
from auto_config.cli import COMMANDS

pytestmark = pytest.mark.usefixtures("warm_python")

TUTORIAL = "docs/tutorial.md"
CANNOT = {
    # Words of blocks that no test of the pages runs, and why.
    " serve ": "a server does not end; tests/apps/end_to_end",
    "--launcher": "five trainings, and Slurm; tests/commands/test_train_jobs.py",
    "torchrun --": "two trainings, and two machines; tests/bundle/monai_clients/test_several_processes.py",
    "isbi2015|": "one of several words; tests/public_datasets",
    "--from afids|": "one of several words; tests/public_datasets",
    "mouse_skull_ct": "needs the data; an hour",
    "--self_training": "two trainings, and scans beside; tests/bundle/rounds",
    "auto_config demo": "the five minutes are real; tests/demo",
    "auto_config train brains\n": "a training with nothing shown but its curves; test_tracked_training.py",
    "--method gaussian_mse": "a method of one's own; tests/methods/test_adding_a_method.py",
}
"""Of these only blocks that begin with such a command."""


def marked(page):
    """The command lines of a page that are to be run."""
    return [words for block in blocks(page, "bash") if block.run for words in commands(block.text)]


def test_the_tutorial_runs(first_walk):
    lines = marked(TUTORIAL)
    assert {"inspect", "create", "train", "predict", "evaluate", "review", "verify", "package"} <= {
        words[1] for words in lines
    }
    for words in lines:
        assert first_walk.run(words) == 0, words
    for name in ("scans.html", "test.html", "review.html", "my_landmarks.zip", "results/predictions.csv"):
        assert (first_walk.folder / name).stat().st_size > 200, name


@pytest.fixture
def server(tmp_path):
    """Runs MONAI's commands."""
    served = Server(tmp_path)
    yield served
    served.close()


@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL and marked(page)])
def test_a_page_runs(page, trained, tmp_path, request):
    lines = marked(page)
    own = all(words[0] == "auto_config" for words in lines)
    walk = Walk(tmp_path / "walk", trained, None if own else request.getfixturevalue("server"))
    for words in lines:
        assert walk.run(words) == 0, words


ELSEWHERE = {
    # Commands that a page shows and no test of the pages runs, and where they run.
    "auto_config serve": "tests/apps/support/app_tools.py",
    "auto_config demo": "tests/demo/test_demo.py",
    "auto_config convert": "tests/public_datasets/test_converting_benchmarks.py",
    "auto_config recipe": "tests/public_datasets/test_recipes.py",
    "auto_config calibrate": "tests/bundle/test_calibration.py",
}


def test_every_command_is_run():
    run = {words[1] for page in PAGES for words in marked(page) if words[0] == "auto_config"}
    other = {line.split()[1] for line in ELSEWHERE}
    assert set(COMMANDS) - run == other
    for line, where in ELSEWHERE.items():
        place, name = ROOT / where, line.split()[1]
        files = [place] if place.is_file() else sorted(place.glob("*.py"))
        assert any(re.search(rf"\b{name}\(|\"{name}\"", path.read_text(encoding="utf-8")) for path in files), line


def test_every_block_of_commands_is_run_or_says_why_not():
    """A block with a command of ours or of MONAI's is marked, or one that a test cannot run."""
    left = []
    for page in PAGES:
        for block in blocks(page, "bash", ""):
            named = re.match(r"(auto_config|torchrun|python -m monai\.bundle) ", block.text)
            if named and not block.run and not any(reason in block.text for reason in CANNOT):
                left.append((page, block.text))
    assert left == []


def test_marked_pages_are_found():
    assert {"README.md", TUTORIAL} <= {page for page in PAGES if marked(page)}


@pytest.mark.filterwarnings("ignore")
def test_the_code_of_the_page_on_python_runs(trained, tmp_path, monkeypatch, capsys):
    """In one name space and one folder, as in a notebook; the training takes the tutorial's weights."""
    walk = Walk(tmp_path, trained)
    asked = {}

    def short(bundle, **options):
        asked.update(options)
        walk._run(["create", "scans", str(bundle), "--overwrite"])
        walk._run(["train", str(bundle)])
        return Training(tmp_path / bundle, tmp_path / bundle / "models" / "model.pt", {})

    monkeypatch.setattr(auto_config.api.training, "train", short)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    names = {"volume": rng.random((24, 26, 22)), "other": rng.random((20, 24, 16)), "affine": np.diag([2.0, 2, 2, 1])}
    for block in blocks("docs/python.md", "python"):
        exec(compile(block.text, "docs/python.md", "exec"), names)
    assert asked == {"time_budget": "15m"}
    assert sorted(path.name for path in Path("slicer").iterdir()) == ["anna.mrk.json", "ben.mrk.json"]
    assert capsys.readouterr().out.endswith("mm\n")


# Signatures of seams; and the page whose code tests/methods/test_adding_a_method.py runs.
OWN = {"docs/ARCHITECTURE.md", "docs/adding_a_method.md"}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python") and page not in OWN])
def test_python_can_be_parsed(page):
    for block in blocks(page, "python"):
        ast.parse(block.text, page)
