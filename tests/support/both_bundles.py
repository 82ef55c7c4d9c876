"""Uses two bundles in one process, one after the other and back; `python -m both_bundles REQUEST.json`.

``train``: MONAI's own ``run`` for each bundle. ``predict``: what `auto_config predict` calls. ``label``: MONAI Label's
stock task for each bundle. Writes its answer beside the request.
"""

import json
import sys
from pathlib import Path


def train(bundles):
    """Train each bundle with its overrides; says whose scripts were in use."""
    import monai.bundle

    used = []
    for root, overrides in bundles:
        monai.bundle.run("training", config_file=f"{root}/configs/train.json", bundle_root=root, **overrides)
        used.append(str(Path(sys.modules["scripts"].__file__).parent.parent))
    return used


def predict(bundles):
    """World points of each image of each bundle; all bundles are open at the same time."""
    from auto_config.bundle.opened import open_bundle

    opened = [open_bundle(root) for root, _ in bundles]
    return [
        {image: one.predict(one.preprocess(Path(image)))["result"]["landmarks"] for image in images}
        for one, (_, images) in zip(opened, bundles, strict=True)
    ]


def label(bundles):
    """The same through MONAI Label's stock bundle task, image by image in turn."""
    from monailabel.tasks.infer.bundle import BundleInferTask

    tasks = [BundleInferTask(root, {}) for root, _ in bundles]
    answers = [{} for _ in bundles]
    for position in range(len(bundles[0][1])):
        for task, answer, (_, images) in zip(tasks, answers, bundles, strict=True):
            file, params = task({"image": images[position], "device": "cpu", "result_extension": ".nii.gz"})
            answer[images[position]] = params["landmarks"]
            answer.setdefault("files", {})[images[position]] = file
            answer["labels"] = params["label_names"]
    return answers


def main():
    """Answer the request."""
    path = Path(sys.argv[1])
    request = json.loads(path.read_text(encoding="utf-8"))
    answer = {"train": train, "predict": predict, "label": label}[request["what"]](request["bundles"])
    path.with_suffix(".answer").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
