"""MONAI's own commands on a bundle, from other folders and with little installed."""

import ast
import json
import re
import sys
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import monai.bundle
import pytest
import torch
from bundle_tools import ask

from auto_config.bundle.opened import open_bundle
from auto_config.errors import UserError

NET = ("verify_net_in_out", "--net_id", "network_def", "--device", "cpu")


def imported(folder):
    """Distributions that the files of a folder import, also those that MONAI only tries."""
    found = set()
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.partition(".")[0])
    return found


def not_listed(modules, listed):
    """Modules that no listed distribution brings; itk and others are several distributions."""
    known = {**packages_distributions(), "itk": ["itk"]}  # the name of itk's own wheel brings others
    brought = {name: {one.lower().replace("_", "-") for one in known.get(name, ())} for name in modules}
    return {name for name in modules - set(sys.stdlib_module_names) if brought[name].isdisjoint(listed)}


def test_metadata_lists_what_the_scripts_and_the_command_need(one_stage_bundle):
    metadata = json.loads((one_stage_bundle / "configs" / "metadata.json").read_text())
    listed = {name.lower() for name in metadata["required_packages_version"]} | {"monai", "torch", "numpy"}
    modules = imported(one_stage_bundle / "scripts")
    assert {"itk", "nibabel", "ignite"} <= modules
    # Imported by the networks that need it alone, and listed in their bundles; wandb where a training asks for it.
    assert not_listed(modules, listed) <= {"dynamic_network_architectures", "wandb"}
    assert not_listed({"nibabel"}, listed - {"nibabel"}) == {"nibabel"}
    # `python -m monai.bundle` cannot start without what its main module tries to import.
    main = (Path(monai.bundle.__file__).parent / "__main__.py").read_text()
    needed = set(re.findall(r"optional_import\(\"(\w+)\"\)", main))
    assert needed == {"fire"}
    assert needed <= listed


def test_every_part_of_the_configs_is_importable_from_what_is_listed(one_stage_bundle):
    listed = json.loads((one_stage_bundle / "configs" / "metadata.json").read_text())["required_packages_version"]
    # MONAI's handlers for curves and its loading bars.
    assert {"tensorboard", "tqdm"} <= set(listed)


def test_verify_net_in_out_from_another_folder(one_stage_bundle, server, tmp_path):
    files = [f"--meta_file={one_stage_bundle}/configs/metadata.json"]
    files.append(f"--config_file={one_stage_bundle}/configs/inference.json")
    root = ("--bundle_root", one_stage_bundle)
    status, output = server.run("monai.bundle", *NET, *files, *root, cwd=tmp_path)
    # As docs/bundle.md says: MONAI does not look at bundle_root here. When this fails, MONAI can, and docs change.
    assert status != 0
    assert "scripts.methods.stages" in output
    server.monai(one_stage_bundle, *NET, *files)


def test_verify_metadata_does_with_and_without_jsonschema_what_the_docs_say(one_stage_bundle, server, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "required": ["network_data_format", "required_packages_version"]}')
    meta = one_stage_bundle / "configs" / "metadata.json"
    command = ("monai.bundle", "verify_metadata", "--meta_file", meta, "--filepath", schema)
    status, output = server.run(*command, cwd=tmp_path)
    if find_spec("jsonschema") is None:
        # MONAI hides its advice to install it behind this; when it no longer does, docs/bundle.md changes.
        said = "TypeError: catching classes that do not inherit from BaseException"
        assert (status != 0, said in output) == (True, True)
        assert said in " ".join((Path(__file__).parents[2] / "docs" / "bundle.md").read_text("utf-8").split())
    else:
        assert status == 0, output


def test_a_client_opens_the_workflow_without_images(two_stage_bundle, one_stage_bundle, server, tmp_path):
    roots = [str(two_stage_bundle), str(one_stage_bundle)]
    assert ask(server, tmp_path, "workflow_checks", "opened_without_images", roots) == [["LandmarkNetwork", [], 0]] * 2


def test_inference_without_images_names_the_option(one_stage_bundle, server, tmp_path):
    status, output = server.run(
        *("monai.bundle", "run", "--config_file", "configs/inference.json", "--output_dir", tmp_path / "out"),
        cwd=one_stage_bundle,
    )
    assert status != 0
    assert "/path/to/images: does not exist; give the folder of the images with --dataset_dir" in output


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize("content", [{"a": Evil()}, b"no weights"], ids=["pickle", "bytes"])
def test_weights_that_are_not_plain_are_refused_without_advice_to_trust_them(
    one_stage_bundle, copy_of, content, capsys
):
    root = copy_of(one_stage_bundle)
    path = root / "models" / "model.pt"
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"model\.pt: is") as error:
        open_bundle(root, device="cpu")
    text = str(error.value)
    assert "\n" not in text
    assert "weights_only" not in text
    assert "trust" not in text
    assert "train again" in text
    assert "ran" not in capsys.readouterr().out
