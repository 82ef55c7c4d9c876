"""The site: its navigation fits any set of pages, its text means what it means on GitHub, and it builds strictly."""

import importlib.util
import json
import re
import subprocess

import pytest
import yaml
from doc_pages import PAGES, ROOT

import auto_config
from auto_config.cli import COMMANDS

SPEC = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site" / "hooks.py")
hooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(hooks)

NAV = [{"Start": ["README.md", {"Soon": "later.md"}]}, {"Empty": [{"Soon": "later.md"}]}, {"Deep": [{"In": ["a.md"]}]}]


def test_the_navigation_fits_the_pages():
    assert hooks.complete(NAV, {"README.md", "a.md"}) == [{"Start": ["README.md"]}, {"Deep": [{"In": ["a.md"]}]}]
    more = hooks.complete(NAV, {"README.md", "new.md", "b/other.md"})
    assert more == [{"Start": ["README.md"]}, {"More": ["b/other.md", "new.md"]}]
    assert hooks.complete(NAV, {"README.md", "a.md", "later.md"}) == NAV


class Settings(yaml.SafeLoader):
    """mkdocs.yml without what it has mkdocs import."""


Settings.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def test_the_navigation_of_the_site_names_each_page_that_is_there_and_no_other():
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Settings)["nav"]
    assert hooks.complete(nav, hooks.pages_there(ROOT / "docs")) == nav


def test_links_out_of_docs_become_pages_or_words():
    text = "[a](../CONTRIBUTING.md#tests) [b](../LICENSE) [c](pose.md) [d](https://e.org) [e](#f) ![g](images/h.png)"
    changed = "[a](contributing.md#tests) b [c](pose.md) [d](https://e.org) [e](#f) ![g](images/h.png)"
    assert hooks.relinked(text, "docs") == changed
    assert hooks.relinked("[a](docs/pose.md) [b](CHANGELOG.md)", "") == "[a](pose.md) [b](changelog.md)"
    assert (
        hooks.relinked("[a](../pose.md) [b](../../README.md)", "docs/notebooks") == "[a](../pose.md) [b](../README.md)"
    )
    code = "```\n[a](../LICENSE)\n```"
    assert hooks.relinked(code, "docs") == code


def test_lists_and_tables_are_those_of_github():
    text = "Text:\n- a\n  on\n- b\n  1. c\n\n     d\n| x |\n|---|\n| y |\nend\n"
    assert hooks.for_python_markdown(text) == (
        "Text:\n\n- a\n    on\n- b\n\n    1. c\n\n        d\n\n| x |\n|---|\n| y |\nend\n"
    )
    steps = "1. a\n   ```bash\n   - no list\n     deep\n   ```\n2. b\n"
    assert hooks.for_python_markdown(steps) == "1. a\n    ```bash\n    - no list\n      deep\n    ```\n2. b\n"
    plain = "# A\n\n- a\n- b\n\nText\ngoes on\n\n```\n- a\n  | b\n```\n"
    assert hooks.for_python_markdown(plain) == plain


def test_a_notebook_becomes_a_page():
    cells = [
        {"cell_type": "markdown", "source": ["# T\n", "x"]},
        {"cell_type": "code", "source": "1 + 1", "outputs": [{"data": {"text/plain": ["2"]}}, {"text": "said\n"}]},
        {"cell_type": "code", "source": "plot()", "outputs": [{"data": {"image/png": "QUJD\n"}}]},
    ]
    assert hooks.notebook(json.dumps({"cells": cells})) == (
        "# T\nx\n\n```python\n1 + 1\n```\n\n```text\n2\n```\n\n```text\nsaid\n```\n\n```python\nplot()\n```\n\n"
        "![output](data:image/png;base64,QUJD)\n"
    )


def test_the_page_of_commands_has_the_help_of_each():
    text = hooks.help_of_commands()
    assert re.findall(r"^## (\w+)$", text, flags=re.MULTILINE) == list(COMMANDS)
    assert "--time_budget" in text
    assert hooks.HELP in PAGES["docs/commands.md"]


def test_the_api_page_has_each_public_name():
    names = re.findall(r"^::: auto_config\.(\w+)$", PAGES["docs/api.md"], flags=re.MULTILINE)
    assert sorted(names) == sorted(auto_config.__all__)


def test_words_that_troubleshooting_quotes_are_said():
    files = [path for part in ("auto_config", "apps") for path in (ROOT / part).rglob("*.py")]
    # Messages are written in pieces on several lines.
    said = re.sub(r'"\s*f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in files))
    rows = re.findall(r"^\| `([^`|]+)` \|", PAGES["docs/troubleshooting.md"], flags=re.MULTILINE)
    assert len(rows) > 20
    names = ("verdict", "radius_mm")
    assert [row for row in rows if row not in said and not row.startswith(names)] == []


def test_it_builds_without_a_warning(tmp_path):
    """Where `make docs` made its environment."""
    mkdocs = ROOT / ".venv-docs" / "bin" / "mkdocs"
    if not mkdocs.is_file():
        pytest.skip("no .venv-docs; make docs makes it and builds the site strictly")
    site = tmp_path / "site"
    done = subprocess.run(
        [mkdocs, "build", "--strict", "--quiet", "--site-dir", site],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert {"index.html", "start.html", "commands.html", "contributing.html", "api.html"} <= set(pages)
    for name, page in pages.items():
        fetched = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?(https?:[^\"\s>]+)", page)
        fetched += re.findall(
            r"<link[^>]* rel=\"?(?:stylesheet|preconnect|preload)[^>]*href=\"?(https?:[^\"\s>]+)", page
        )
        assert not fetched, name
    assert "read_dataset" in pages["api.html"] and "PlanOptions" in pages["api.html"]
    assert "--time_budget" in pages["commands.html"]
