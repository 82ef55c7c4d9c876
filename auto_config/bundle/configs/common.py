"""What the config files share."""

from __future__ import annotations

from auto_config.methods.base import Json

IMPORTS = ["$import os", "$import sys", "$import torch", "$import monai"]
# First of all, and not in `run`: MONAI instantiates before it adds the bundle to the path (docs/bundle.md). What
# another bundle in this process left under the name `scripts` must go first.
FIND_SCRIPTS = [
    "$[sys.modules.pop(name) for name in list(sys.modules) if name.split('.')[0] == 'scripts' and "
    "os.path.abspath(@bundle_root + '/scripts') not in getattr(sys.modules.get('scripts'), '__path__', [])]",
    "$sys.path.insert(0, os.path.abspath(@bundle_root))",
]
# MONAI's client of federated learning initializes twice, and only the second time with the right `bundle_root`.
KEEP_MEMORY = {
    "_target_": "scripts.cpu_memory.keep_freed_memory",
    "_disabled_": "$not os.path.isdir(@bundle_root + '/scripts')",
}
DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"


def paths(dataset_dir: str) -> Json:
    """Where things are, the first ids of every workflow."""
    return {
        "imports": IMPORTS,
        "bundle_root": ".",
        "dataset_dir": dataset_dir,
        "output_dir": "$@bundle_root + '/eval'",
        "landmarks": "$@bundle_root + '/configs/landmarks.json'",
    }


def load_weights(path: str | Json = "$@bundle_root + '/models/model.pt'") -> Json:
    """Handler that loads weights.

    Args:
        path: expression or part that gives their file.
    """
    return {
        "_target_": "CheckpointLoader",
        "load_path": path,
        "load_dict": {"model": "@network"},
        "map_location": "@device",
    }
