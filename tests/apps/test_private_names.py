"""The private names of MONAI Label that the app relies on: all of them, in one table, and each is there still.

Whoever takes a newer MONAI Label sees here what to look at.
"""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

APP = Path(__file__).parents[2] / "apps/landmark_app"
LOCAL, DICOM = "monailabel.datastore.local.LocalDatastore", "monailabel.datastore.dicom.DICOMWebDatastore"
RELIED_ON = {
    "monailabel.interfaces.app.MONAILabelApp": {
        "_auto_update_scoring",
        "_infers",
        "_scoring_methods",
        "_strategies",
        "_trainers",
    },
    "monailabel.interfaces.tasks.infer_v2.InferTask": {"_config"},
    # Some of them the app has methods of its own for, which MONAI Label's code then calls.
    LOCAL: {
        "_config_ts",
        "_datastore",
        "_datastore_config_path",
        "_datastore_path",
        "_extensions",
        "_init_from_datastore_file",
        "_list_files",
        "_lock_file",
        "_reconcile_datastore",
        "_to_id",
        "_update_datastore_file",
    },
    DICOM: {"_client", "_dicom_info", "_fetch_by_frame", "_search_filter"},
}


def private_names(tree: ast.AST) -> tuple[set[str], set[str]]:
    """Private attributes that a file uses, and those that it defines."""
    used, defined = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr) and ast.unparse(node) != "os._exit":
            (defined if isinstance(node.ctx, ast.Store) else used).add(node.attr)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            defined.add(node.name)
        if isinstance(node, (ast.AnnAssign, ast.Assign)):
            targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            defined |= {target.id for target in targets if isinstance(target, ast.Name)}
    return used, {name for name in defined if re.match(r"_[a-z]", name)}


def source_of(name: str) -> str:
    """The text of a class of MONAI Label and of those below it."""
    module, _, kind = name.rpartition(".")
    found = getattr(import_module(module), kind)
    return "".join(inspect.getsource(one) for one in found.__mro__ if one.__module__.startswith("monailabel"))


def names_in(text: str) -> set[str]:
    """Private names of a class: methods, and attributes of its instances."""
    return set(re.findall(r"(?:self\.|def )(_[a-z]\w*)", text))


FILES = {path.relative_to(APP): private_names(ast.parse(path.read_text("utf-8"))) for path in APP.rglob("*.py")}


@pytest.mark.parametrize("name", RELIED_ON)
def test_monai_label_has_the_names_still(name):
    gone = RELIED_ON[name] - names_in(source_of(name))
    assert not gone, f"{name} has {sorted(gone)} no more; see where the app uses them"


def test_the_table_has_every_private_name_that_is_not_the_apps_own():
    own = set().union(*(defined for _, defined in FILES.values()))
    table = set().union(*RELIED_ON.values())
    for path, (used, _) in FILES.items():
        assert used - own <= table, f"{path} uses {sorted(used - own - table)}"


@pytest.mark.parametrize("name", [LOCAL, DICOM])
def test_what_the_data_stores_share_with_monai_label_is_in_the_table(name):
    """Also a method of the app that takes the place of one of MONAI Label, by intent or by accident."""
    stores = ("datastore_index.py", "datastore_local.py", "datastore_dicomweb.py", "landmark_labels.py")
    names = set().union(*(used | defined for path, (used, defined) in FILES.items() if path.name in stores))
    shared = names & names_in(source_of(name))
    assert shared <= RELIED_ON[LOCAL] | RELIED_ON[DICOM], sorted(shared - RELIED_ON[LOCAL] - RELIED_ON[DICOM])


def test_no_row_is_needless():
    everywhere = set().union(*(used | defined for used, defined in FILES.values()))
    for name, names in RELIED_ON.items():
        assert names <= everywhere, f"{name}: {sorted(names - everywhere)} are used nowhere"
