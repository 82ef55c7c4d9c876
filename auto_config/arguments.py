"""From the words of a command line to a call of a function, by the function's own signature and docstring.

fire matches words to parameters, but leniently: it runs a command before it finds that an option does not exist, takes
the word after a flag as the flag's value, and reads `1e5` or `AC,PC` as Python wherever they stand. So the words are
brought into the one form that cannot be misread (`--name=value` for every parameter) and checked first, and each value
is read by the type that the signature gives it.
"""

import difflib
import inspect
import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import TextWrapper
from typing import Any, Literal, get_args, get_origin

from auto_config.errors import UserError

Command = Callable[..., int | None]
Place = str | Path
Names = Sequence[str]
Numbers = Sequence[float]
Integers = Sequence[int]
HELP_WIDTH = 110


def call(command: Command, words: Sequence[str]) -> int | None:
    """Call `command` with the values in `words`, and give what it returns.

    Raises:
        UserError: An option that does not exist, a missing or superfluous word, a value of the wrong type. The command
            has then not been started.
    """
    import fire
    from fire.decorators import SetParseFns

    def printed(result: object) -> None:
        """Nothing: a command prints for itself, and its result is the exit status."""

    readers = {
        name: _reader(name, parameter.annotation)
        for name, parameter in inspect.signature(command).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    read = SetParseFns(**readers)(command)
    result: int | None = fire.Fire(read, command=canonical(command, words), name=command.__name__, serialize=printed)
    return result


def canonical(command: Command, words: Sequence[str]) -> list[str]:
    """Write `words` as `--name=value` for each parameter of `command`.

    `--name value`, `--name=value`, `--some-name` and, for a parameter of type bool, `--name` alone are understood; only
    `true` or `false` after such a switch is its value, and `--no_name` turns it off.

    Args:
        command: Its keyword-only parameters are options, the others are the words without a name, in their order.
        words: What stands on the command line after the command's name.

    Returns:
        One word for each value that was given, in the order given.

    Raises:
        UserError: As `call`, types apart.
    """
    parameters = inspect.signature(command).parameters
    places = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    options = [name for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD]
    switches = [name for name in options if parameters[name].annotation in _SWITCHES]
    open_ended = len(options) < len(parameters)
    values: dict[str, str] = {}
    unnamed: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not re.match(r"--?[^\W\d]", word):
            unnamed.append(word)
            continue
        name, value = _option(word, switches)
        if name not in options and not open_ended:
            known = [_shown(option) for option in options]
            raise UserError(_unknown(f"option --{_shown(name)}", name, known, "--", command.__name__))
        if value is None:
            value = _next_value(name, rest, is_switch=name in switches)
        if name in values:
            raise UserError(f"--{_shown(name)} is given twice: {values[name]!r} and {value!r}; give it once")
        values[name] = value
    for name in [name for name in places if name not in values]:
        if unnamed:
            values[name] = unnamed.pop(0)
        elif parameters[name].default is inspect.Parameter.empty:
            raise UserError(f"{name.upper()} is missing; usage: {usage(command)}")
    for name in [p.name for p in parameters.values() if _is_required_option(p) and p.name not in values]:
        raise UserError(f"--{_shown(name)} is missing; usage: {usage(command)}")
    if unnamed:
        raise UserError(
            f"{unnamed[0]!r} is one word too many; usage: {usage(command)}; lists are written with commas: a,b,c"
        )
    return [f"--{name}={value}" for name, value in values.items()]


def _option(word: str, switches: Sequence[str]) -> tuple[str, str | None]:
    """The parameter that a word names, and the value in the word itself; None where it has none."""
    name, equals, value = word.lstrip("-").partition("=")
    name = name.replace("-", "_")
    if keyword.iskeyword(name):
        name += "_"  # no parameter can be called `from`
    off = name.removeprefix("no_")
    if off != name and name not in switches and off in switches and not equals:
        return off, "false"
    return name, value if equals else None


def _next_value(name: str, rest: list[str], *, is_switch: bool) -> str:
    """The value of an option in the words after it, which it takes away from them.

    Raises:
        UserError: There is none, and the option is no switch.
    """
    if is_switch:
        return rest.pop(0) if rest and rest[0].lower() in _BOOLEANS else "true"
    if rest and not rest[0].startswith("--"):
        return rest.pop(0)
    raise UserError(f"--{_shown(name)} needs a value: --{_shown(name)} VALUE")


def choose(name: str, commands: dict[str, Command]) -> Command:
    """The command called `name`.

    Raises:
        UserError: There is none; the message names the nearest one.
    """
    if name not in commands:
        raise UserError(_unknown(f"command {name!r}", name, list(commands), "", ""))
    return commands[name]


def usage(command: Command) -> str:
    """One line: `auto_config NAME WORDS [options]`, with brackets around words that may be left out."""
    places = [p for p in inspect.signature(command).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    words = [p.name.upper() if p.default is p.empty else f"[{p.name.upper()}]" for p in places]
    required = [p.name for p in inspect.signature(command).parameters.values() if _is_required_option(p)]
    words += [f"--{_shown(name)} {name.upper()}" for name in required]
    return " ".join(["auto_config", command.__name__, *words, "[options]"])


def _is_required_option(parameter: inspect.Parameter) -> bool:
    return parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty


def overview(commands: dict[str, Command]) -> str:
    """The commands, a line each."""
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {_sections(command)[0].splitlines()[0]}" for name, command in commands.items()]
    return "\n".join(
        [
            "auto_config: from a folder of scans and landmark points to a trained MONAI Bundle",
            "",
            "usage: auto_config COMMAND [words] [options]",
            "",
            *lines,
            "",
            "`auto_config COMMAND --help` tells more; `--debug` shows the traceback of an error; `--version`.",
            "New here? `auto_config demo` runs the whole way on built-in data in less than ten minutes.",
        ]
    )


def help_text(command: Command, fill: Mapping[str, str]) -> str:
    """The help of one command, from its docstring: what it does, its words and options with defaults, examples.

    Args:
        command: with a docstring.
        fill: what stands in the place of each ``{name}`` in a description.
    """
    text, descriptions, examples = _sections(command)
    for name, value in fill.items():
        descriptions = {key: line.replace(f"{{{name}}}", value) for key, line in descriptions.items()}
    words, options = [], []
    for name, parameter in inspect.signature(command).parameters.items():
        description = descriptions.get(name, "")
        if parameter.kind is parameter.VAR_KEYWORD:
            options.append(("--ID=VALUE", description))
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            words.append((name.upper(), description))
        else:
            options.append(_option_line(name, parameter, description))
    width = max(len(name) for name, _ in words + options)

    def table(rows: list[tuple[str, str]]) -> list[str]:
        wrapped = TextWrapper(width=HELP_WIDTH, subsequent_indent=" " * (width + 4), break_on_hyphens=False)
        return [wrapped.fill(f"  {name:<{width}}  {description}") for name, description in rows]

    parts = [
        f"usage: {usage(command)}",
        "",
        text,
        *(["", *table(words)] if words else []),
        "",
        "options:",
        *table(options),
    ]
    return "\n".join([*parts, "", "examples:", *(f"  {example}" for example in examples)])


def _option_line(name: str, parameter: inspect.Parameter, description: str) -> tuple[str, str]:
    """An option and what it does; of a switch that is on, how to turn it off."""
    if _is_required_option(parameter):
        return f"--{_shown(name)}", f"{description} (required)"
    if parameter.default is True:
        return f"--{_shown(name)}", f"{description} (default; --no_{_shown(name)} turns it off)"
    shown = parameter.default not in (None, False, parameter.empty)
    return f"--{_shown(name)}", f"{description} (default: {parameter.default})" if shown else description


def _sections(command: Command) -> tuple[str, dict[str, str], list[str]]:
    """The text, the parameters' descriptions and the examples of a docstring in Google style."""
    parts = re.split(r"^(Args|Returns|Raises|Examples):\n", inspect.getdoc(command) or "", flags=re.MULTILINE)
    text, sections = parts[0], dict(zip(parts[1::2], parts[2::2], strict=True))
    descriptions: dict[str, str] = {}
    name = ""
    for line in sections.get("Args", "").splitlines():
        if start := re.match(r"    \*{0,2}(\w+): (.*)", line):
            name, descriptions[start[1]] = start[1], start[2]
        elif line.strip():
            descriptions[name] += " " + line.strip()
    return (
        text.strip(),
        descriptions,
        [line.strip() for line in sections.get("Examples", "").splitlines() if line.strip()],
    )


def _shown(name: str) -> str:
    """An option as it is written on the command line: a parameter that would be a keyword has a sign at its end."""
    return name.removesuffix("_")


def _unknown(what: str, name: str, known: list[str], prefix: str, command: str) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(prefix + other for other in known)}"
    return f"there is no {what}; {hint} See `{' '.join(['auto_config', command]).strip()} --help`"


def _reader(name: str, annotation: object) -> Callable[[str], Any]:
    """A function that reads the value of the option `name`, whose type is `annotation`."""
    # A choice that may be left out is a union of the choice and None.
    choice = next((one for one in (annotation, *get_args(annotation)) if get_origin(one) is Literal), None)
    if choice is not None:
        convert, form = _one_of(get_args(choice)), f"one of {', '.join(get_args(choice))}"
    else:
        convert, form = _READERS[annotation]

    def read(text: str) -> Any:
        try:
            return convert(text)
        except ValueError:
            raise UserError(f"--{_shown(name)} is {form}, not {text!r}") from None

    return read


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return read


def _list_of(convert: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """A reader of `a,b,c`; brackets around it, as Python writes lists, do no harm."""

    def read(text: str) -> tuple[Any, ...]:
        inner = re.sub(r"^\s*[\[(](.*)[\])]\s*$", r"\1", text)
        return tuple(convert(part.strip()) for part in inner.split(",") if part.strip())

    return read


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(text)
    return _BOOLEANS[text.lower()]


def _whole_or_word(text: str) -> int | str:
    return int(text) if re.fullmatch(r"-?\d+", text) else text


_SWITCHES = (bool, bool | None)
_BOOLEANS = {"true": True, "false": False}
_READERS: dict[object, tuple[Callable[[str], Any], str]] = {
    str: (str, "a text"),
    str | None: (str, "a text"),
    Place: (str, "a path"),
    Place | None: (str, "a path"),
    str | float | None: (str, "a text"),
    bool: (_boolean, "true or false"),
    bool | None: (_boolean, "true or false"),
    int: (int, "a whole number"),
    int | None: (int, "a whole number"),
    int | str: (_whole_or_word, "a whole number or a word"),
    float: (float, "a number"),
    float | None: (float, "a number"),
    Names | None: (_list_of(str), "a list of names such as AC,PC"),
    Numbers: (_list_of(float), "a list of numbers such as 2,2.5,3"),
    Numbers | None: (_list_of(float), "a list of numbers such as 1,1,1.5"),
    Integers | None: (_list_of(int), "a list of whole numbers such as 96,96,64"),
}
