"""The notebooks of the documentation: they run, and are kept with their pictures."""

import importlib
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (extra 'dev')")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (extra 'dev')")
pytest.importorskip("ipykernel", reason="ipykernel is not installed (extra 'dev')")
pytest.importorskip("nilearn", reason="nilearn is not installed (extra 'demo')")

pytestmark = pytest.mark.usefixtures("warm_python")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
LARGEST = 1_000_000
SMALL = """CASES = 6
TRAINING = {"max_epochs": 1, "iterations_per_epoch": 1, "num_workers": 0, "calibrate": False}"""


def pictures(notebook):
    return [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_small_data(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = SMALL
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": tmp_path}}).execute()
    # Two of slices and one of errors; without a calibration there is none of regions.
    assert len(pictures(notebook)) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_is_kept_with_is_whole_and_names_no_place(path):
    """The outputs of a run from its first cell that trained in earnest, without progress bars."""
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < LARGEST
    assert not re.search(r"/tmp/|/home/|/root/|/work/|ipykernel_\d", text)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert len(pictures(notebook)) == 4
    assert "error" not in {output.output_type for cell in code for output in cell.outputs}
    assert "\\u001b" not in text and "ipywidgets" not in text
    said = re.search(r"mean error ([\d.]+) mm, of the mean shape ([\d.]+) mm", text)
    assert float(said[1]) < float(said[2])


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_what_is_kept_of_a_cell_is_what_a_person_reads(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    kept = importlib.import_module("refresh_notebooks")._kept
    new = nbformat.v4.new_output
    bar = [new("stream", name="stdout", text=f"\x1b[2K\x1b[90m━━\x1b[0m epoch {n}") for n in range(30)]
    picture = new("display_data", {"image/png": "", "text/plain": "<Figure>"})
    asked = new("display_data", {"text/html": 'install "ipywidgets"', "text/plain": "x"})
    said = new("stream", name="stdout", text="\nread place/scan\n")
    (text, shown) = kept([*bar, said, asked, picture, new("stream", name="stderr", text="warning")], "place")
    assert text.text == "━━ epoch 29\nread ./scan\n" and shown is picture
    assert kept([new("stream", name="stdout", text="".join(f"{n}\n" for n in range(40)))], "x")[0].text.startswith(
        "28\n"
    )
