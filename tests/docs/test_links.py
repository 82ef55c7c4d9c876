"""Links and pictures of the pages lead somewhere, from GitHub and from the site; no page of docs/ is out of reach."""

import posixpath
import re

import pytest
from doc_pages import PAGES, ROOT, anchors, links

from auto_config.cli import COMMANDS


def broken(page):
    """Targets of a page that lead nowhere."""
    lost = []
    for target in links(page):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
        is_there = place in PAGES or (ROOT / place).exists()
        if not is_there or (anchor and (place not in PAGES or anchor not in anchors(place))):
            lost.append(target)
    return lost


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert broken(page) == []


def test_a_broken_link_is_seen(monkeypatch):
    text = "# One\n[a](nothing.md) [b](formats.md#nothing) [c](#one) [d](formats.md#coordinates) ![e](images/no.png)"
    monkeypatch.setitem(PAGES, "docs/made.md", text)
    assert broken("docs/made.md") == ["nothing.md", "formats.md#nothing", "images/no.png"]


def test_anchors_are_those_of_github(monkeypatch):
    monkeypatch.setitem(PAGES, "made.md", "# A & B\n## `x_y`, z: w\n## [t](u.md)\n## t\n```bash\n# no heading\n```\n")
    assert anchors("made.md") == {"a--b", "x_y-z-w", "t", "t-1"}


def test_each_page_is_reached_from_the_first():
    reached, waiting = set(), ["docs/README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page not in PAGES:
            continue
        reached.add(page)
        targets = (target.partition("#")[0] for target in links(page))
        waiting += [posixpath.normpath(posixpath.join(posixpath.dirname(page), target)) for target in targets if target]
    assert {page for page in PAGES if page.startswith("docs/")} <= reached


def test_each_picture_is_shown():
    shown = {posixpath.normpath(posixpath.join(posixpath.dirname(page), one)) for page in PAGES for one in links(page)}
    pictures = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "images").iterdir()}
    assert pictures <= shown


@pytest.mark.parametrize("page", ["README.md", "docs/commands.md"])
def test_each_command_has_a_row(page):
    assert set(re.findall(r"^\| `auto_config (\w+)", PAGES[page], flags=re.MULTILINE)) == set(COMMANDS)
