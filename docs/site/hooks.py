"""Hooks of mkdocs (`hooks` in mkdocs.yml): the markdown of docs/ is written for GitHub, and the site is made of it.

Everything but the functions that mkdocs calls (`on_...`) is a pure function of texts and names.
"""

from __future__ import annotations

import json
import posixpath
import re
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "README.md"}
"""Files of the repository's root that are pages of the site, and what they are called there."""
HELP = "<!-- help of each command -->"

Nav = list[Any]


def complete(nav: Nav, pages: Collection[str]) -> Nav:
    """A navigation of exactly these pages: names without a page are left out, the others come under More.

    Args:
        nav: as in mkdocs.yml: names of files, `{title: file}` and `{title: [...]}`.
        pages: names of the files that are there, relative to docs/.
    """
    kept = _kept(nav, pages)
    more = sorted(set(pages) - set(_names(kept)))
    return [*kept, {"More": more}] if more else kept


def _kept(nav: Nav, pages: Collection[str]) -> Nav:
    kept: Nav = []
    for entry in nav:
        title, target = next(iter(entry.items())) if isinstance(entry, dict) else (None, entry)
        if isinstance(target, list):
            if inner := _kept(target, pages):
                kept.append({title: inner})
        elif target in pages:
            kept.append(entry)
    return kept


def _names(nav: Nav) -> Iterable[str]:
    for entry in nav:
        target = next(iter(entry.values())) if isinstance(entry, dict) else entry
        if isinstance(target, list):
            yield from _names(target)
        else:
            yield target


def relinked(markdown: str, folder: str) -> str:
    """The text with links out of docs/ as links between pages; what is no page there becomes its words.

    Args:
        markdown: of a page.
        folder: where its file lies, relative to the root of the repository: `docs`, `docs/notebooks`, or "".
    """

    def changed(match: re.Match[str]) -> str:
        words, target = match[1], match[2]
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, _, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(folder, path))
        page = place.removeprefix("docs/") if place.startswith("docs/") else OUTSIDE.get(place)
        if page is None:
            return words.lstrip("!").strip("[]")
        start = folder.removeprefix("docs").lstrip("/") or "."
        return f"{words}({posixpath.relpath(page, start)}{'#' * bool(anchor)}{anchor})"

    pieces = re.split(r"(^ *```.*?^ *```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    pieces[::2] = [re.sub(r"(!?\[[^\[\]]*\])\(([^()\s]+)\)", changed, piece) for piece in pieces[::2]]
    return "".join(pieces)


def for_python_markdown(text: str) -> str:
    """The text as Python-Markdown wants it: lists and tables after a blank line, four blanks for each level."""
    lines: list[str] = []
    levels: list[int] = []  # where the text of each open list item begins
    fence = ""
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip(" "))
        before, previous = len(levels), lines[-1] if lines else ""
        if not fence and line.strip() and (indent or not previous or re.match(r"([-*]|\d+\.) |[#|`<>]", line)):
            levels = [level for level in levels if level <= indent]
        depth = len(levels)
        marker = None if fence else re.match(r" *(?:[-*]|\d+\.) +", line)
        opens_table = not fence and line.lstrip().startswith("|") and not previous.lstrip().startswith("|")
        if previous.strip() and ((marker and before <= depth) or opens_table):
            lines.append("")
        lines.append((" " * (4 * depth + max(indent - (levels[-1] if levels else 0), 0)) + line.lstrip(" ")).rstrip())
        if marker:
            levels = [*levels, len(marker[0])]
        if start := re.match(r" *(```+)", line):
            fence = "" if fence else start[1]
    return "\n".join(lines) + "\n"


def notebook(text: str) -> str:
    """The cells of a notebook as a page: text, code, printed output and pictures."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                parts.append(f"![output](data:image/png;base64,{''.join(''.join(data['image/png']).split())})")
            elif printed := "".join(output.get("text", data.get("text/plain", []))).rstrip():
                parts.append(f"```text\n{printed}\n```")
    return "\n\n".join(parts) + "\n"


def help_of_commands() -> str:
    """What `auto_config COMMAND --help` prints, a section for each command."""
    sys.path.insert(0, str(ROOT))
    try:
        from auto_config.arguments import help_text
        from auto_config.cli import COMMANDS
        from auto_config.methods.tables import lines
    finally:
        sys.path.remove(str(ROOT))
    return "\n".join(f"## {name}\n\n```text\n{help_text(run, lines())}\n```\n" for name, run in COMMANDS.items())


def pages_there(docs: Path) -> set[str]:
    """Names of all pages of the site: files of docs/, notebooks, and what lies in the root of the repository."""
    there = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    there |= {path.relative_to(docs).with_suffix(".md").as_posix() for path in docs.rglob("*.ipynb")}
    return there | {page for page in OUTSIDE.values() if (ROOT / _origin(page)).is_file()}


def on_config(config: Any) -> Any:
    """Make the navigation fit the files."""
    config.nav = complete(config.nav, pages_there(Path(config.docs_dir)))
    return config


def _origin(page: str) -> str:
    return next(origin for origin, name in OUTSIDE.items() if name == page)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie elsewhere, and notebooks as pages."""
    from mkdocs.structure.files import File

    for origin in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = relinked((ROOT / origin).read_text(encoding="utf-8"), "")
        files.append(File.generated(config, OUTSIDE[origin], content=text))
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            text = notebook(Path(file.abs_src_path).read_text(encoding="utf-8"))
            files.append(File.generated(config, file.src_uri.removesuffix(".ipynb") + ".md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001
    """Bring the text of each page into the site's form."""
    if page.file.generated_by is None:
        folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri)).rstrip("/")
        markdown = relinked(markdown, folder)
    return for_python_markdown(markdown.replace(HELP, help_of_commands() if HELP in markdown else ""))
