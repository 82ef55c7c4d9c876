"""A small MONAI Label app of stock tasks, which the stock server and ours serve in this process, side by side."""

import contextlib
import json
import sys
from pathlib import Path
from unittest import mock

import nibabel as nib
import numpy as np
import torch
from fastapi.testclient import TestClient

MAIN = '''
import time
from pathlib import Path

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.tasks.train.bundle import BundleTrainTask


class Slow(InferTask):
    """Takes a while; gives the path that it was given and, if asked, what is no JSON."""

    def __init__(self):
        super().__init__(InferType.SEGMENTATION, ["a"], 3, "slow", {"seconds": 1.0, "odd": False})

    def is_valid(self):
        return True

    def __call__(self, request):
        time.sleep(request.get("seconds", 1.0))
        return None, {"radius": float("nan") if request.get("odd") else 1.0, "path": request["image"]}


class TinyApp(MONAILabelApp):
    def init_infers(self):
        return {"tiny": BundleInferTask(str(Path(self.app_dir) / "tiny"), {}), "slow": Slow()}

    def init_trainers(self):
        return {"tiny": BundleTrainTask(str(Path(self.app_dir) / "tiny"), {})}
'''

INFERENCE = {
    "displayable_configs": {"factor": 0.5},
    "network_def": {"_target_": "torch.nn.Identity"},
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
            {"_target_": "ScaleIntensityd", "keys": "image", "factor": "@displayable_configs#factor"},
        ],
    },
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": "AsDiscreted", "keys": "pred", "threshold": 0}],
    },
}
# No network and no data: what a client sends is parsed all the same.
TRAINING = {
    "device": "cpu",
    "train": {"dataset": {"data": []}, "trainer": {"max_epochs": 1}, "handlers": []},
    "validate": {"dataset": {"data": []}},
    "run": ["$print(@train#trainer#max_epochs, @device)"],
}
METADATA = {
    "version": "1",
    "description": "tiny",
    "network_data_format": {
        "inputs": {"image": {"spatial_shape": [8, 8, 8]}},
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "a"}}},
    },
}


def write_image(path: Path, value: float = 1.0) -> Path:
    """A volume of 8 voxels a side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.full((8, 8, 8), value, dtype=np.float32)
    data[0] = 0
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return path


def write_app(folder: Path) -> Path:
    """The app with its bundle; nothing of it needs a network or a GPU."""
    bundle = folder / "tiny"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    for name, content in {"inference": INFERENCE, "train": TRAINING, "metadata": METADATA}.items():
        (bundle / "configs" / f"{name}.json").write_text(json.dumps(content))
    torch.save({}, bundle / "models/model.pt")
    (folder / "main.py").write_text(MAIN)
    (folder / "logs").mkdir()
    (folder / "logs/app.log").write_text("patient 17\n")
    return folder


class TinyServers:
    """The app, its studies, and both servers of it."""

    def __init__(self, folder: Path) -> None:
        from monailabel import app as stock
        from monailabel.config import settings

        self.folder = folder
        self.studies = folder / "studies"
        self.settings = settings
        self.stock_app = stock.app
        write_image(self.studies / "case0.nii.gz")
        write_image(self.studies / "case1.nii.gz", 2.0)
        write_app(folder / "app")
        self.stock = self.client(stock.app)
        self.ours = self.client(self.server())

    def server(self, studies=None, **options):
        """Our server with some options."""
        from landmark_app.lib.server.application import create_server
        from landmark_app.lib.server.options import ServerOptions

        return create_server(ServerOptions(**options), str(studies or self.studies))

    @staticmethod
    def client(app, host="127.0.0.1") -> TestClient:
        """A client on this machine."""
        return TestClient(app, base_url="http://127.0.0.1", client=(host, 1), raise_server_exceptions=False)

    def both(self, method, url, **keywords):
        """The answers of the stock server and of ours."""
        return self.stock.request(method, url, **keywords), self.ours.request(method, url, **keywords)


@contextlib.contextmanager
def tiny_servers(folder: Path):
    """`TinyServers` while MONAI Label's settings are those of the app."""
    from monailabel.config import settings
    from monailabel.interfaces.utils import app as apps

    values = {
        "MONAI_LABEL_APP_DIR": str(folder / "app"),
        "MONAI_LABEL_STUDIES": str(folder / "studies"),
        "MONAI_LABEL_APP_CONF": {},
        "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
        "MONAI_LABEL_AUTO_UPDATE_SCORING": False,
        "MONAI_LABEL_TRACKING_ENABLED": False,
        "MONAI_LABEL_DATASTORE_AUTO_RELOAD": False,
    }
    with contextlib.ExitStack() as stack:
        for name, value in values.items():
            stack.enter_context(mock.patch.object(settings, name, value))
        stack.enter_context(mock.patch.dict(apps.apps, clear=True))
        stack.enter_context(mock.patch.object(sys, "path", list(sys.path)))
        yield TinyServers(folder)
