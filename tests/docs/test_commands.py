"""Each command that a page shows is understood: command, words, options and the values of these.

What is run as well is marked in the page (`doc_pages.RUN`, test_walk.py).
"""

import inspect
import itertools
import re
import shlex
from pathlib import Path

import pytest
from doc_pages import PAGES, ROOT, blocks, commands, prose

from auto_config.arguments import _reader, canonical
from auto_config.cli import COMMANDS
from auto_config.errors import UserError

PLACEHOLDER = r"[A-Z][A-Z_0-9]*"
OTHERS = {
    # First words of lines that a test cannot run, and why; whatever else stands in a block has to be understood.
    "pip": "installs",
    "label/bin/pip": "installs",
    "python3": "makes a virtual environment",
    "python3.11": "makes a virtual environment",
    "python3.12": "makes a virtual environment",
    ".": "enters a virtual environment",
    "cd": "enters a folder",
    "docker": "needs a daemon",
    "pipx": "installs",
    "uv": "installs",
    "uvx": "installs",
    "git": "changes a checkout",
    "export": "sets a variable",
    "tail": "reads what another command says",
    "head": "reads what another command says",
}
MONAI = {
    # Commands of `python -m monai.bundle`; tests/bundle/test_monai_commands.py and test_exports.py run each.
    *("run", "verify_net_in_out", "verify_metadata", "ckpt_export", "onnx_export", "trt_export", "init_bundle"),
}


def understood(words):
    """Read the words behind `auto_config` by the signature of their command; words in capitals stand for anything.

    Raises:
        UserError: They are wrong.
    """
    if not words or words[0] in ("--help", "--version", "help") or re.fullmatch(PLACEHOLDER, words[0]):
        return
    command = COMMANDS.get(words[0])
    if command is None:
        raise UserError(f"there is no command {words[0]!r}")
    if "--help" in words:
        return
    parameters = inspect.signature(command).parameters
    for word in canonical(command, [word for word in words[1:] if word != "--debug"]):
        name, _, value = word.removeprefix("--").partition("=")
        parameter = parameters.get(name)
        if parameter is not None and not re.fullmatch(PLACEHOLDER, value):
            for one in value.split("|"):
                _reader(name, parameter.annotation)(one)


def other(words):
    """Whether a line that is none of `auto_config` is known."""
    if words[0] == "make":
        targets = set(re.findall(r"^([\w-]+)(?: [\w-]+)*:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
        return all(word in targets or "=" in word for word in words[1:])
    if words[0] == "torchrun" and "monai.bundle" in words:
        return words[words.index("monai.bundle") + 1] in MONAI
    if re.fullmatch(r"(label/bin/)?python[\d.]*", words[0]) and words[1:3] == ["-m", "monai.bundle"]:
        return words[3] in MONAI
    if words[0] == "python" and words[1] == "-m":
        return words[2] in {"pytest", "json.tool", "landmark_app.lib.server.start", "pip", "venv"}
    if words[0] == "python" and words[1].startswith("benchmarks/"):
        source = (ROOT / words[1]).read_text(encoding="utf-8")
        own = list(itertools.takewhile(lambda word: word != "--create", words[2:]))
        of_create = words[2 + len(own) + 1 :]  # what `benchmarks/accuracy.py` hands on
        known = inspect.signature(COMMANDS["create"]).parameters
        if not all(word[2:] in known for word in of_create if word.startswith("--")):
            return False
        options = [word.split("=")[0] for word in own if word.startswith("--")]
        return all(re.search(rf"{option}\b|\b{option[2:]}:", source) for option in options)
    if words[0] == "python" and words[1].startswith("docs/examples/"):
        return (ROOT / words[1]).is_file()
    return words[0] in OTHERS


def shown(page):
    """The command lines in the blocks of a page, those marked as shell or that begin with `auto_config`."""
    lines = []
    for block in blocks(page, "bash", "sh", "shell", "console", ""):
        begins = r"(\w+=\S+ )?(label/bin/)?(auto_config|python|torchrun|make) "
        if block.language or re.match(begins, block.text):
            lines += commands(block.text)
    return lines


def faults(page):
    """What is wrong with the commands of a page."""
    wrong = []
    for words in shown(page):
        line = shlex.join(words)
        rest = list(itertools.dropwhile(lambda word: re.fullmatch(r"[A-Z_]+=.*", word), words))
        if "auto_config" not in {Path(word).name for word in rest[:3]}:
            if rest and not other(rest):
                wrong.append(f"{line}: not known")
            continue
        start = next(number for number, word in enumerate(rest) if Path(word).name == "auto_config")
        wrong += fault(rest[start + 1 :], line)
    text = re.sub(r"\n", " ", prose(page))
    for rest in re.findall(r"`(?:label/bin/)?auto_config ([^`]*)`", text):
        wrong += mentioned(rest)
    # `train --fold all`: without the name of the program.
    for rest in re.findall(rf"`((?:{'|'.join(COMMANDS)})(?: \w+)* --[^`]*)`", text):
        wrong += mentioned(rest)
    return wrong


def mentioned(line):
    """What is wrong with a command that a sentence names: words and values that it leaves out are no fault."""
    words = shlex.split(line.replace("...", ""))
    if words[0] not in COMMANDS:
        return fault(words, line)
    parameters = inspect.signature(COMMANDS[words[0]]).parameters
    places = [
        one.name.upper()
        for one in parameters.values()
        if one.kind is one.POSITIONAL_OR_KEYWORD and one.default is one.empty
    ]
    given = list(itertools.takewhile(lambda word: not word.startswith("--"), words[1:]))
    return fault([words[0], *given, *places[len(given) :], *with_values(words[0], words[1 + len(given) :])], line)


def with_values(name, options):
    """Options whose value a text leaves out, as in `predict --fixed`, with a placeholder for it."""
    parameters = inspect.signature(COMMANDS[name]).parameters
    words = []
    for position, word in enumerate(options):
        words.append(word)
        key = word.lstrip("-").replace("-", "_")
        key = f"{key}_" if f"{key}_" in parameters else key
        last = position + 1 == len(options) or options[position + 1].startswith("--")
        if word.startswith("--") and "=" not in word and last and key in parameters:
            kind = parameters[key].annotation
            if kind is not bool and kind != bool | None:
                words.append("VALUE")
    return words


def fault(words, line):
    try:
        understood(words)
    except UserError as error:
        return [f"{line}: {error}"]
    return []


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_understood(page):
    assert faults(page) == []


def test_wrong_commands_are_seen(monkeypatch):
    page = "docs/made.md"
    lines = ["guess scans", "create scans", "create a b --stages two", "train b --epochs x --fold"]
    text = "```bash\n" + "".join(f"auto_config {line}\n" for line in lines) + "make nothing\nrm -rf x\n```\n"
    monkeypatch.setitem(PAGES, page, text + "`auto_config gess` and `predict --regons` and\n`create --stages x`")
    wrong = faults(page)
    assert [line.split(":")[0].removeprefix("auto_config ") for line in wrong] == [
        *lines,
        "make nothing",
        "rm -rf x",
        "gess",
        "predict --regons",
        "create --stages x",
    ]


def test_right_commands_pass(monkeypatch):
    text = (
        "```bash\nlabel/bin/python -m auto_config serve S --bundles .  # a note\n"
        "auto_config create scans b && auto_config train b --time_budget 15m | tail\nmake test JOBS=8\n"
        "auto_config convert DIR OUT --from afids|mml\n```\n`auto_config train BUNDLE --ID=VALUE` `predict --fixed`"
    )
    monkeypatch.setitem(PAGES, "docs/made.md", text)
    assert faults("docs/made.md") == []
