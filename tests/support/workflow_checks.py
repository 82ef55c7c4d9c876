"""Opens bundles as MONAI's workflows do; ``python -m workflow_checks REQUEST.json``.

Writes its answer beside the request.
"""

import json
import os
import socket
import sys
from pathlib import Path

import torch
from monai.bundle import ConfigParser, ConfigWorkflow, create_workflow, load


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def properties(checks):
    """What MONAI finds wrong with each workflow; several bundles in one process."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port(), RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    wrong = []
    for check in checks:
        root = check["bundle"]
        workflow = ConfigWorkflow(
            workflow_type=check["type"],
            config_file=[f"{root}/configs/{name}.json" for name in check["configs"]],
            bundle_root=root,
            **check.get("overrides", {}),
        )
        workflow.initialize()
        wrong.append(workflow.check_properties())
        workflow.finalize()
    return wrong


def opened_without_images(bundles):
    """What a client finds in each bundle that it opens from anywhere, without a folder of images."""
    found = []
    for root in bundles:
        workflow = create_workflow(
            config_file=f"{root}/configs/inference.json", bundle_root=root, workflow_type="infer", logging_file=False
        )
        network = type(workflow.network_def).__name__
        found.append([network, workflow.check_properties(), len(workflow.dataset)])
    return found


def loaded(bundles):
    """What `monai.bundle.load` gives for each bundle, called in its folder: class, and whether weights are in."""
    found = []
    for root in map(Path, bundles):
        os.chdir(root)
        network = load(root.name, bundle_dir=root.parent, workflow_type="inference", device="cpu")
        saved = torch.load(root / "models" / "model.pt", weights_only=True)
        state = network.state_dict()
        same = state.keys() == saved.keys() and all(torch.equal(state[name], saved[name]) for name in saved)
        found.append([type(network).__name__, same])
    return found


def effects(checks):
    """For each check the value of an expression, after an override; ``get`` gives the content of an id."""
    values = []
    for check in checks:
        root = Path(check["bundle"])
        sys.path.insert(0, str(root))
        parser = ConfigParser()
        parser.read_config(str(root / "configs" / f"{check.get('config', 'train')}.json"))
        parser.read_meta(str(root / "configs" / "metadata.json"))
        parser.update({"bundle_root": str(root), **check["overrides"]})
        values.append(eval(check["expression"], {"get": parser.get_parsed_content, "torch": torch}))
    return values


def on_meta(checks):
    """Output shape of each bundle's network for an input of the size that its metadata tells, without computing."""
    shapes = []
    for check in checks:
        root = Path(check["bundle"])
        sys.path.insert(0, str(root))
        parser = ConfigParser()
        parser.read_config(str(root / "configs" / "inference.json"))
        metadata = json.loads((root / "configs" / "metadata.json").read_text())
        tensor = metadata["network_data_format"]["inputs"]["image"]
        with torch.device("meta"):
            network = parser.get_parsed_content("network_def").eval()
            output = network(torch.zeros(1, tensor["num_channels"], *tensor["spatial_shape"]))
            stages = network({name: torch.zeros(1, 1, *size) for name, size in check.get("stages", {}).items()})
        shapes.append([list(output.shape), {name: list(heads["logits"].shape) for name, heads in stages.items()}])
    return shapes


def main():
    """Answer the request."""
    path = Path(sys.argv[1])
    request = json.loads(path.read_text(encoding="utf-8"))
    answer = {
        "properties": properties,
        "effects": effects,
        "on_meta": on_meta,
        "opened_without_images": opened_without_images,
        "loaded": loaded,
    }[request["what"]](request["bundles"])
    path.with_suffix(".answer").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
