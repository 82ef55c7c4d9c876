"""``configs/metadata.json``, as the specification of MONAI bundles and the model zoo want it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from auto_config import __version__
from auto_config.methods.backbones import network_of
from auto_config.methods.combining.of_plan import method_of
from auto_config.methods.plan import Plan

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
REQUIRED = ("nibabel", "itk", "pillow", "scipy", "pytorch-ignite", "tensorboard", "rich", "fire", "tqdm")
# A plan knows Hounsfield units; images of any other kind are normalised by their own grey values.
MODALITY = {"ct": "CT", "zscore": "unknown"}


def metadata(plan: Plan, name: str, landmarks: dict[str, Any], cases: int) -> dict[str, Any]:
    """The content of ``configs/metadata.json``.

    Args:
        plan: all decisions.
        name: of the bundle.
        landmarks: content of ``configs/landmarks.json``.
        cases: number of training cases.
    """
    items = landmarks["landmarks"]
    network = network_of(plan)
    packages = [*REQUIRED, *network.packages]
    channels = plan.value("channels")
    size = list(plan.stage("fine")["patch_size"])
    cells = [edge // network.of_stage(plan, plan.stage("fine")).stride for edge in size]
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "planned from the data"},
        "monai_version": installed("monai"),
        "pytorch_version": installed("torch"),
        "numpy_version": installed("numpy"),
        "required_packages_version": {package: installed(package) for package in packages},
        "name": name,
        "task": "Anatomical landmark detection",
        "description": f"Finds {len(items)} landmarks. Planned by landmark-bundles {__version__} from {cases} cases.",
        "authors": "made with landmark-bundles",
        "copyright": "of whoever trained it",
        "data_source": "see docs/README.md",
        "data_type": "images with landmark points",
        "intended_use": "Research. Not a medical device; check every point before you use it.",
        "references": references(plan),
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "intensity",
                    "modality": ", ".join(
                        dict.fromkeys(MODALITY[rule["kind"]] for rule in plan.value("normalization"))
                    ),
                    "num_channels": channels,
                    "spatial_shape": size,
                    "dtype": "float32",
                    "value_range": [-10, 10],
                    "is_patch_data": True,
                    "channel_def": {str(i): name for i, name in enumerate(plan.value("channel_names"))},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "heatmap",
                    "num_channels": len(items),
                    "spatial_shape": cells,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    # Values of the label map of balls: clients drop the background and use the index as the value.
                    "channel_def": channel_def([item["slug"] for item in items]),
                }
            },
            "post_processed_outputs": {
                "result": {
                    "type": "tuples",
                    "format": "points",
                    "num_channels": len(items),
                    "spatial_shape": [len(items), plan.value("spatial_dims")],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {},
                }
            },
        },
    }


def references(plan: Plan) -> list[str]:
    """Citations of the method and of its network."""
    rows = (method_of(plan), network_of(plan))
    return list(dict.fromkeys(row.citation for row in rows))


def channel_def(slugs: Sequence[str]) -> dict[str, str]:
    """``{"0": "background", "1": slug, ...}``."""
    return {"0": "background", **{str(i + 1): slug for i, slug in enumerate(slugs)}}


def installed(package: str) -> str:
    """Installed version without a local part such as ``+cpu``: the zoo installs exactly this one."""
    try:
        return version(package).split("+")[0]
    except PackageNotFoundError:
        return "0"
