"""The marked commands of the pages are run, in their order, on small data; the code in Python too."""

import ast
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_tools import Server
from doc_pages import PAGES, ROOT, blocks, commands
from walk import Walk

import auto_config.api.training
from auto_config.api.training import Training
from auto_config.cli import COMMANDS

pytestmark = pytest.mark.usefixtures("warm_python")

TUTORIAL = "docs/tutorial.md"
CANNOT = {
    # Command lines of blocks that no test of the pages runs, as a pattern of the whole line, and why.
    r"(\S*/)?pip install .*": "installs",
    r"python3[\d.]* -m venv .*": "makes a virtual environment",
    r"\. .*/activate": "enters a virtual environment",
    r"landmarks/bin/auto_config --help": "of the environment that the line before makes; tests/test_cli.py",
    r"docker .*": "needs a daemon; the recipe is linted in tests/structure/test_distribution.py",
    r"make .*": "installs; minutes to an hour",
    r"auto_config demo": "the five minutes are real; tests/demo",
    r"(label/bin/)?auto_config serve .*": "a server does not end; tests/apps/end_to_end",
    r"auto_config train BUNDLE --fold all --launcher .*": "five trainings; tests/commands/test_train_jobs.py",
    r"torchrun --(standalone|nnodes=2) .*": "two trainings, and two machines; tests/bundle/monai_clients",
    r"auto_config convert DIR OUT --from '.*'": "one of several words; tests/public_datasets",
    r"auto_config recipe '.*' DIR BUNDLE": "one of several words; tests/public_datasets",
    r"auto_config (inspect OUT|create OUT BUNDLE)": "of what the line before converted; tests/public_datasets",
    r"python benchmarks/accuracy.py mouse_skull_ct WORK .*": "needs the data; a quarter of an hour",
    r"python benchmarks/(peers|trust)/.* mouse_skull_ct .*": "needs the data; hours",
    r"python benchmarks/accuracy.py DATASET .*": "needs the data and a GPU; eight minutes each",
    r"python benchmarks/gpu.py .*": "needs a GPU, or minutes; tests/device/test_gpu_benchmark.py",
    r"python benchmarks/reliability.py .*": "many trainings that are killed; tests/bundle/test_killed_training.py",
    r"python benchmarks/refresh_docs.py": "writes into the checkout; tests/methods/test_adding_a_method.py",
    r"auto_config create scans brain_landmarks --unlabelled more_scans": "of a second round; tests/bundle/rounds",
    r"auto_config train brain_landmarks (--self_training )?--time_budget 10m": "of a second round; tests/bundle/rounds",
    r"python docs/examples/federated/job.py .*": "needs nvflare; tests/bundle/federated/test_two_sites.py",
    r"tensorboard --logdir brains/eval": "does not end; tests/bundle/monai_clients/test_tracked_training.py",
    r"auto_config train brains": "its curves are the point; tests/bundle/monai_clients/test_tracked_training.py",
    r"(auto_config create|python -m pytest) .* gaussian_mse": "made there; tests/methods/test_adding_a_method.py",
}
PROGRAMS = re.compile(
    r"(\w+=\S+ )*(\S*/)?(auto_config|python[\d.]*|torchrun|make|pip|pipx|uv|uvx|docker|git|tensorboard|mlflow|wandb) "
)
"""What a line of a block without a language, or of `text`, begins with if it is a command."""


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
    own = not any("monai.bundle" in words for words in lines)
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


def unmarked(page):
    """The command lines of a page, of any program, in blocks that are not marked to be run."""
    lines = []
    for block in blocks(page, "bash", "sh", "shell", "console", "text", ""):
        if block.run:
            continue
        text = block.text.replace("\\\n", " ")
        if block.language in ("text", ""):
            text = "\n".join(line for line in text.splitlines() if PROGRAMS.match(line))
        lines += [shlex.join(words) for words in commands(text)]
    return lines


def test_every_line_of_a_block_is_run_or_says_why_not():
    """Of any program: what is in no marked block stands on the list, by itself."""
    left, used = [], set()
    for page in PAGES:
        for line in unmarked(page):
            found = [pattern for pattern in CANNOT if re.fullmatch(pattern, line)]
            used |= set(found)
            left += [] if found else [(page, line)]
    assert left == []
    assert set(CANNOT) - used == set(), "no page shows these any more"
    places = [place for reason in CANNOT.values() for place in re.findall(r"(?:tests|benchmarks)/[\w/.]+", reason)]
    assert len(places) > 10
    assert [place for place in places if not (ROOT / place).exists()] == []


@pytest.mark.parametrize("language", ["bash", "text", "", "console"])
@pytest.mark.parametrize(
    "line",
    [
        *("python -m json.tool plan.json", "auto_config inspect scans", "label/bin/python x.py", "docker-compose up"),
        *("tensorboard --logdir b", "mlflow ui", "wandb sync b"),
    ],
)
def test_a_line_that_nobody_runs_is_seen_behind_one_that_is_excused(monkeypatch, language, line):
    monkeypatch.setitem(PAGES, "docs/made.md", f"```{language}\nauto_config demo\n{line}\nwords of output\n```\n")
    seen = [one for one in unmarked("docs/made.md") if one == line]
    # What begins with no known program is a command only where the block says that it holds commands.
    assert seen == ([] if line.startswith("docker-compose") and language in ("text", "") else [line])
    assert not any(re.fullmatch(pattern, line) for pattern in CANNOT)


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


@pytest.mark.filterwarnings("ignore")
def test_the_loop_of_the_page_on_federated_learning_runs(trained, tmp_path, server):
    """Two rounds in the place of ten, for the two sites that the page names; its commands have set up the first."""
    page = "docs/federated.md"
    walk = Walk(tmp_path / "walk", trained, server)
    for words in [*marked(page), ["auto_config", "join", "brains.zip", "our_scans", "site_b"]]:
        assert walk.run(words) == 0, words
    (block,) = blocks(page, "python")
    few = block.text.replace("rounds=10", "rounds=2").replace("range(10)", "range(2)")
    assert few.count("2") == block.text.count("10") == 2
    (walk.folder / "rounds_of_the_page.py").write_text(few, encoding="utf-8")
    weights = walk.folder / "brains" / "models" / "model.pt"
    before = torch.load(weights, weights_only=True)
    status, said = server.run("rounds_of_the_page", cwd=walk.folder)
    assert status == 0, said
    after = torch.load(weights, weights_only=True)
    assert after.keys() == before.keys()
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(bool(torch.isfinite(tensor).all()) for tensor in after.values())


# Signatures of seams; and the page whose code tests/methods/test_adding_a_method.py runs.
OWN = {"docs/ARCHITECTURE.md", "docs/adding_a_method.md"}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python") and page not in OWN])
def test_python_can_be_parsed(page):
    for block in blocks(page, "python"):
        ast.parse(block.text, page)
