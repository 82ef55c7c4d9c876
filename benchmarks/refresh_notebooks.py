"""Run the notebooks of docs/notebooks from their first cell, and keep them with what they gave.

python benchmarks/refresh_notebooks.py

It trains for some minutes. Needs the extra `dev`; everything is made in a folder that is removed afterwards.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LINES = 12
"""Lines of what a cell prints that are kept: its last ones."""


def main() -> int:
    """Run every notebook and write it back."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": folder}}).execute()
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs = _kept(cell.outputs, folder)
                    cell.metadata.pop("execution", None)
        notebook.metadata.language_info = {"name": "python"}
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
    return 0


def _kept(outputs: list[Any], folder: str) -> list[Any]:
    """What a cell gave, without warnings, progress bars and places of this machine; what it prints as one text."""
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout").replace(folder, ".")
    # What a terminal would show: a carriage return, or a line that is cleared, starts it again.
    lines = [re.split(r"\r|\x1b\[2K", line.rstrip("\r"))[-1] for line in printed.split("\n")]
    text = "\n".join([_ESCAPE.sub("", line) for line in lines][-_LINES - 1 :])
    first = [nbformat.v4.new_output("stream", name="stdout", text=text)] if text.strip() else []
    return first + [one for one in outputs if one.output_type != "stream" and not _of_a_bar(one)]


def _of_a_bar(output: Any) -> bool:
    """Whether an output is a progress bar's place in a notebook, which is empty or asks for another package."""
    said = output.get("data", {})
    text = said.get("text/plain", "").strip()
    html = said.get("text/html", "")
    return (
        output.output_type == "display_data"
        and not any(kind.startswith("image/") for kind in said)
        and (not text or "ipywidgets" in text + html)
    )


if __name__ == "__main__":
    sys.exit(main())
