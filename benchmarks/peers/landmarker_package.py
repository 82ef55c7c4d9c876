r"""The package landmarker on a data set, in a given time, measured by `auto_config evaluate` as ours is.

Its published best (Jonkers et al., SoftwareX 2025, and the configurations beside "Reliable uncertainty quantification
for 2D/3D anatomical landmark localization", 2025) from its own parts: masks of one voxel (`MaskDataset`), the negative
log-likelihood under a softmax over all voxels (`NLLLoss`), MONAI's FlexibleUNet with EfficientNet-b0, Adam, the
weights with the smallest loss of the validation, decoded by `heatmap_to_coord`. Weights start at random. What the
package leaves to its users is done to its advantage: images of any orientation come onto one grid in world mm, without
its padding, which in 3D moves points against the image; masks take the nearest voxel, where it cuts decimals off.

It is no part of auto_config and is not installed with it:

    pip install landmarker==0.4.1

As published, and with what a short training on CPUs needs:

    python benchmarks/peers/landmarker_package.py mouse_skull_ct runs/lm_published --test test_cases.txt --minutes 15
    python benchmarks/peers/landmarker_package.py mouse_skull_ct runs/lm_short --test test_cases.txt --minutes 15 \
        --decoder_channels 256,128,64,32,16 --dropout 0 --learning_rate 1e-3 --batch 1 --momentum 0.1 --augment

Pictures take `--pixel_spacing`, as `evaluate` does; `--augment` is published for them.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()
"""Before the imports, which belong to the time of a training."""

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from importlib.util import find_spec  # noqa: E402
from pathlib import Path  # noqa: E402

from peer_arguments import numbers, whole_numbers  # noqa: E402

DECODERS = ("local_soft_argmax", "argmax", "weighted_spatial_mean")
"""Of the package; the first is the one it was published with, and its predictions are the result."""

MISSING = "error: the package landmarker is not installed; run: pip install landmarker==0.4.1"


def main(arguments: list[str] | None = None) -> int:
    """Train, predict, evaluate and print; 2 with one line where it cannot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="data set with images/ and landmarks/")
    parser.add_argument("out", type=Path, help="folder for weights and predictions; must not exist")
    parser.add_argument("--test", type=Path, help="file with a test case on each line, else those of the data set")
    parser.add_argument("--minutes", type=float, default=15.0, help="of the whole training, imports and reading too")
    parser.add_argument("--pixel_spacing", type=numbers, help="mm of a pixel of pictures")
    parser.add_argument("--edge", type=int, help="voxels of the longest edge, a multiple of 32; 96, or 512 of pictures")
    parser.add_argument("--decoder_channels", type=whole_numbers, default="128,128,128,128,128", help="of the network")
    parser.add_argument("--dropout", type=float, default=0.5, help="of the network's decoder")
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--batch", type=int, help="images of a step; 4, or 8 of pictures")
    parser.add_argument("--momentum", type=float, help="of batch normalisation; the network's own if not given")
    parser.add_argument("--augment", action="store_true", help="turn, scale and shift images, and change grey values")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if find_spec("landmarker") is None:
        print(MISSING, file=sys.stderr)
        return 2
    # Light modules of ours first: a wrong argument is said before a minute of imports.
    from auto_config.errors import UserError

    if given.out.exists():
        print(f"error: {given.out}: is there; give another folder", file=sys.stderr)
        return 2
    try:
        print(json.dumps(measured(given), indent=1))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measured(given: argparse.Namespace) -> dict[str, object]:
    """What the program prints: seconds, errors by decoder, and what was trained.

    Args:
        given: the arguments.
    """
    import torch
    from landmarker_training import Recipe, predicted_points, prepared, trained
    from peer_files import evaluated, split_cases, write_predictions

    from auto_config.api.data import read_dataset

    dataset = read_dataset(given.source, pixel_spacing=given.pixel_spacing)
    split = split_cases(dataset, given.test)
    pictures = dataset.spatial_dims == 2
    recipe = Recipe(
        decoder_channels=given.decoder_channels,
        dropout=given.dropout,
        learning_rate=given.learning_rate,
        batch=given.batch or (8 if pictures else 4),
        momentum=given.momentum,
        augment=given.augment,
        seed=given.seed,
    )
    data = prepared(dataset, split, given.edge or (512 if pictures else 96))
    network, course = trained(data, recipe, STARTED + given.minutes * 60)
    seconds = {"train": round(time.perf_counter() - STARTED, 1)}
    given.out.mkdir(parents=True)
    torch.save(network.state_dict(), given.out / "model.pt")
    start = time.perf_counter()
    points, of_cases = predicted_points(network, data, split.test, DECODERS)
    seconds["predict"] = round(time.perf_counter() - start, 1)
    from importlib.metadata import version

    package = ("package landmarker", version("landmarker"))
    found = {}
    for decoder in DECODERS:
        folder = given.out / "predictions" if decoder == DECODERS[0] else given.out / f"predictions_{decoder}"
        write_predictions(folder, dataset, split, points[decoder], of_cases, package=package)
        found[decoder] = evaluated(folder, given.source, given.pixel_spacing)
    metrics = found[DECODERS[0]]
    error = f"mre_{metrics['unit']}"
    return {
        "seconds": seconds,
        error: metrics[error],
        "baseline": metrics["mean_shape_baseline"],
        "decoders": {name: one[error]["mean"] for name, one in found.items()},
        "parameters": sum(tensor.numel() for tensor in network.state_dict().values()),
        "grid": {"spacing": round(data.grid.spacing, 4), "shape": data.grid.shape},
        "course": course,
    }


if __name__ == "__main__":
    sys.exit(main())
