"""The pages of the documentation as tests read them: blocks of code, words in backticks, headings, links."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
}
RUN = "<!-- run -->"
"""Stands above a block whose commands a test runs, in the order of the page."""
_BLOCK = re.compile(r"^( *)(<!-- run -->\n *)?```(\w*)\n(.*?)^ *```$", flags=re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code: its page, language, text, and whether it is marked to be run."""

    page: str
    language: str
    text: str
    run: bool


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks of a page in its order; of these languages, if any are given."""
    found = [
        Block(page, match[3], re.sub(rf"^{match[1]}", "", match[4], flags=re.MULTILINE), match[2] is not None)
        for match in _BLOCK.finditer(PAGES[page])
    ]
    return [block for block in found if not languages or block.language in languages]


def prose(page: str) -> str:
    """The page without its blocks of code."""
    return _BLOCK.sub("", PAGES[page])


def commands(text: str) -> list[list[str]]:
    """The command lines of a block as words: continued lines joined, `&&`, `;` and pipes cut, comments left out."""
    lines = []
    for line in text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in shlex.split(line, comments=True):
            if word in ("&&", ";", "|", "&"):
                lines.append(words)
                words = []
            else:
                words.append(word)
        lines.append(words)
    return [words for words in lines if words]


def anchors(page: str) -> set[str]:
    """The anchors that GitHub, and the site, give to the headings of a page."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#{1,6} (.*)$", prose(page), flags=re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        names.add(f"{slug}-{count}" if count else slug)
    return names


def links(page: str) -> list[str]:
    """Targets of links and pictures of a page."""
    return re.findall(r"!?\[[^\[\]]*\]\(([^()\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page)))
