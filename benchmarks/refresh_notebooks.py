"""Run the notebooks of docs/notebooks from their first cell, and keep them with what they gave.

python benchmarks/refresh_notebooks.py

It trains for some minutes. Needs the extra `dev`; everything is made in a folder that is removed afterwards.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
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
                    cell.outputs = [kept for output in cell.outputs if (kept := _kept(output, folder))]
                    cell.metadata.pop("execution", None)
        notebook.metadata.language_info = {"name": "python"}
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
    return 0


def _kept(output: Any, folder: str) -> Any:
    """An output without warnings, progress bars and places of this machine."""
    if output.output_type != "stream":
        return output
    if output.name != "stdout":
        return None
    # What a terminal would show: a carriage return starts its line again.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in output.text.replace(folder, ".").split("\n")]
    output.text = "\n".join(lines[-_LINES - 1 :])
    return output


if __name__ == "__main__":
    sys.exit(main())
