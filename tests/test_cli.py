"""The command line: what words become, what errors look like, and how quickly help comes."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from auto_config import cli
from auto_config.arguments import Names, Numbers, call, canonical
from auto_config.errors import UserError

calls: list[dict[str, Any]] = []


def sketch(
    source: str,
    *,
    landmarks: Names | None = None,
    spacing: Numbers | None = None,
    folds: int = 5,
    fold: int | str = 0,
    share: float = 0.2,
    overwrite: bool = False,
    switch: bool | None = None,
    missing: Literal["unknown", "absent"] = "unknown",
    test_file: str | None = None,
) -> int | None:
    """Stand-in for a command: notes what it was called with."""
    calls.append(dict(locals()))
    return None


def open_ended(bundle: str, *, fold: int | str = 0, **overrides: object) -> int | None:
    """Stand-in for a command with overrides."""
    calls.append({"bundle": bundle, "fold": fold, "overrides": overrides})
    return None


@pytest.fixture(autouse=True)
def no_calls_before() -> Iterator[None]:
    calls.clear()
    yield


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["scans"], {"source": "scans", "folds": 5}),
        (["1e5"], {"source": "1e5"}),
        (["007"], {"source": "007"}),
        (["None"], {"source": "None"}),
        (["a,b"], {"source": "a,b"}),
        (["a b=c"], {"source": "a b=c"}),
        (["scans", "--no_overwrite"], {"source": "scans", "overwrite": False}),
        (["scans", "--no-switch", "--folds=3"], {"source": "scans", "switch": False, "folds": 3}),
        (["--source", "scans"], {"source": "scans"}),
        (["s", "--landmarks", "AC,PC"], {"landmarks": ("AC", "PC")}),
        (["s", "--landmarks", "1,2,1e5"], {"landmarks": ("1", "2", "1e5")}),
        (["s", "--landmarks=AC"], {"landmarks": ("AC",)}),
        (["s", "--landmarks", "R superior LMS,x=y"], {"landmarks": ("R superior LMS", "x=y")}),
        (["s", "--spacing", "[1, 1.5,2]"], {"spacing": (1.0, 1.5, 2.0)}),
        (["s", "--fold", "all"], {"fold": "all"}),
        (["s", "--fold", "3"], {"fold": 3}),
        (["s", "--share", "-1"], {"share": -1.0}),
        (["s", "--test_file", "12"], {"test_file": "12"}),
        (["s", "--test-file=-"], {"test_file": "-"}),
        (["--overwrite", "s"], {"source": "s", "overwrite": True}),
        (["s", "--overwrite=false"], {"overwrite": False}),
        (["s"], {"switch": None}),
        (["s", "--missing", "absent"], {"missing": "absent"}),
        (["--switch", "s"], {"source": "s", "switch": True}),
        (["--switch", "False", "s"], {"source": "s", "switch": False}),
    ],
)
def test_words_become_values(words: list[str], expected: dict[str, Any]) -> None:
    assert call(sketch, words) is None
    (called,) = calls
    assert {name: called[name] for name in expected} == expected
    assert all(type(called[name]) is type(expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "SOURCE is missing"),
        (["a", "b"], "'b' is one word too many"),
        (["a", "--fols", "3"], "there is no option --fols; did you mean --folds?"),
        (["a", "--qqq", "3"], "there is no option --qqq; known: --source, --landmarks"),
        (["a", "-x"], "there is no option --x"),
        (["a", "--folds"], "--folds needs a value"),
        (["a", "--folds", "--overwrite"], "--folds needs a value"),
        (["a", "--folds", "many"], "--folds is a whole number, not 'many'"),
        (["a", "--folds", "2.5"], "--folds is a whole number, not '2.5'"),
        (["a", "--overwrite=perhaps"], "--overwrite is true or false, not 'perhaps'"),
        (["a", "--missing", "gone"], "--missing is one of unknown, absent, not 'gone'"),
        (["a", "--spacing", "1,x"], "--spacing is a list of numbers"),
        (["a", "--folds", "3", "--folds", "4"], "--folds is given twice: '3' and '4'"),
        (["a", "--overwrite", "--no_overwrite"], "--overwrite is given twice: 'true' and 'false'"),
        (["a", "--no_folds"], "there is no option --no_folds"),
        (["a", "--source", "b"], "'a' is one word too many"),
    ],
)
def test_wrong_words_are_named_before_anything_runs(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        call(sketch, words)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert calls == []


def test_overrides_reach_the_command() -> None:
    call(
        open_ended,
        ["b", "--learning_rate=1e-3", "--train#trainer#max_epochs", "3", "--amp", "False", "--device=cuda:0"],
    )
    assert calls == [
        {
            "bundle": "b",
            "fold": 0,
            "overrides": {"learning_rate": 1e-3, "train#trainer#max_epochs": 3, "amp": False, "device": "cuda:0"},
        }
    ]


def test_a_word_may_be_left_out() -> None:
    def command(directory: str | None = None, *, folds: int = 5) -> int | None:
        """Note."""
        calls.append({"directory": directory, "folds": folds})
        return None

    for words in (["new"], [], ["--folds", "3", "new"], ["--directory", "new"]):
        call(command, words)
    assert [called["directory"] for called in calls] == ["new", None, "new", "new"]
    with pytest.raises(
        UserError, match=r"'b' is one word too many; usage: auto_config command \[DIRECTORY\] \[options\]"
    ):
        call(command, ["a", "b"])


def test_every_word_is_named_before_fire_sees_it() -> None:
    assert canonical(sketch, ["s", "--test-file", "x=y"]) == ["--test_file=x=y", "--source=s"]


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_help_tells_all_options_and_runs_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    command = cli.COMMANDS[name]
    for parameter in inspect.signature(command).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            assert "--ID=VALUE" in text
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            assert f"\n  {parameter.name.upper()} " in text
        else:
            option = parameter.name.removesuffix("_")  # `--from` is no name of a parameter
            line = next(line for line in text.splitlines() if line.startswith(f"  --{option} "))
            assert len(line.split(maxsplit=1)) == 2, "every option says what it is for"
    assert f"auto_config {name}" in text.partition("examples:")[2]
    assert max(map(len, text.splitlines())) <= 120
    assert cli.main(["help", name]) == 0
    assert capsys.readouterr().out == text


def test_an_option_that_must_be_given_is_asked_for_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    asked = "--bundles is missing; usage: auto_config serve STUDIES --bundles BUNDLES [options]"
    assert cli.main(["serve", "scans"]) == cli.WRONG_INPUT
    assert capsys.readouterr() == ("", f"error: {asked}\n")
    assert cli.main(["serve", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "usage: auto_config serve STUDIES --bundles BUNDLES [options]" in shown
    assert "folder that holds the bundles (required)" in shown


@pytest.mark.parametrize("words", [["--help"], ["create", "--help"], ["--version"], ["crate"]])
def test_help_imports_nothing_that_takes_seconds(words: list[str]) -> None:
    code = (
        "import sys; from auto_config.cli import main; main(sys.argv[1:]); "
        "sys.exit(str(sorted({'torch', 'monai', 'numpy', 'itk', 'nibabel'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("scans/a.nii.gz: empty\n  take another"), 2, "error: scans/a.nii.gz: empty take another\n"),
        (ValueError("bad.mrk.json: no points"), 2, "error: bad.mrk.json: no points\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x.csv"),
            2,
            "error: x.csv: No such file or directory; check the path, and whether its folder is there and may be "
            "written to\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_are_one_line(
    error: BaseException, status: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(source: str) -> int | None:
        """Fail."""
        raise error

    monkeypatch.setitem(cli.COMMANDS, "fail", fail)
    assert cli.main(["fail", "x"]) == status
    assert capsys.readouterr().err == message


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str) -> int | None:
        """Fail."""
        raise UserError(source)

    monkeypatch.setitem(cli.COMMANDS, "fail", fail)
    with pytest.raises(UserError, match="scans"):
        cli.main(["fail", "scans", "--debug"])


def test_debug_reaches_commands_that_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(*, debug: bool = False) -> int | None:
        """Tell."""
        return 5 if debug else 6

    monkeypatch.setitem(cli.COMMANDS, "command", command)
    assert cli.main(["--debug", "command"]) == 5
    assert cli.main(["command"]) == 6


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (1, 1)])
def test_exit_status_is_the_result(
    result: int | None, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int | None:
        """Give a result."""
        return result

    monkeypatch.setitem(cli.COMMANDS, "command", command)
    assert cli.main(["command"]) == status
    assert capsys.readouterr().out == "", "a command prints for itself"


def test_module_exits_with_the_status() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "auto_config", "create", "a"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: BUNDLE is missing; usage: auto_config create SOURCE BUNDLE [options]\n"
    assert done.stdout == ""


def test_a_reader_that_leaves_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -u -m auto_config create --help | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 141)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_what_nobody_foresaw_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kind of error is said, and where to see more; --debug lets it through."""

    def broken(words: list[str], *, debug: bool) -> int:
        raise RuntimeError("half\nway") from KeyError("the cause")

    monkeypatch.setattr(cli, "_run", broken)
    assert cli.main(["inspect", "scans"]) == 2
    assert capsys.readouterr().err == "error: RuntimeError: 'the cause' (--debug shows the traceback)\n"
    with pytest.raises(RuntimeError):
        cli.main(["inspect", "scans", "--debug"])
