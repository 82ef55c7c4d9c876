"""A folder in which the commands of the pages run: small scans, and what the commands before left."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
from blobs import HEAD, landmark_set, write_blobs
from bundle_tools import REPOSITORY, Server, shrink, torchrun

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.cli import main

READS_A_BUNDLE = ("export", "package", "predict", "review", "verify")


class Walk:
    """Runs the command lines of pages in a folder, with small networks and one training for all.

    The data are small, so two things are not as the page says them: a bundle that was created is made small, and a
    training takes one epoch and no calibration in the place of a time. A second training of the same bundle takes the
    first one's result. A page that does not make the bundle that it uses finds one that was trained.

    Args:
        folder: To run in.
        trained: A bundle that takes the place of further trainings; None to train.
        server: Runs MONAI's commands; None where a page has none.
    """

    def __init__(self, folder: Path, trained: Path | None = None, server: Server | None = None) -> None:
        self.folder, self.trained, self.server = folder, trained, server
        truth = write_blobs(folder / "scans", cases=12)
        (folder / "new_scans").mkdir()
        for name in ("fixed_points", "folder_of_points"):
            (folder / name).mkdir()
        for case in list(truth)[:2]:
            shutil.copy(folder / "scans" / "images" / f"{case}.nii.gz", folder / "new_scans" / f"new_{case}.nii.gz")
            points = landmark_set(HEAD, truth[case])
            for name in ("fixed_points", "folder_of_points"):
                write_markups(folder / name / f"new_{case}.mrk.json", points.ordered(HEAD[:1]))
        shutil.copy(folder / "new_scans" / f"new_{case}.nii.gz", folder / "scan.nii.gz")
        image = nib.load(folder / "scan.nii.gz")
        np.savez(folder / "scan.npz", image=image.get_fdata(dtype=np.float32), affine=image.affine)
        write_markups(folder / "two_points.mrk.json", points.ordered(HEAD[:2]))
        shutil.copytree(folder / "scans", folder / "our_scans")

    def run(self, words: list[str]) -> int:
        """Run one command line in the folder; gives its exit status."""
        if words[0] in ("python", "torchrun"):
            return self._monai(words) if "monai.bundle" in words else self._python(words[1:])
        assert words[0] == "auto_config", words
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self._run(words[1:])
        finally:
            os.chdir(before)

    def _run(self, words: list[str]) -> int:
        if words[0] == "train":
            return self._train(words)
        if words[0] in READS_A_BUNDLE:
            self._bundle(words[1])
        # Without processes of its own for a dozen small images, which would take longer to start than to read them.
        workers = ["--workers", "1"] if words[0] in ("inspect", "create", "join") else []
        status = main([*words, *workers])
        if words[0] == "create" and status == 0:
            shrink(Path(words[2]))
        return status

    def _bundle(self, name: str) -> None:
        """Make the bundle of a page that has told how to before, or elsewhere."""
        if not (self.folder / name).exists():
            assert self._run(["create", "scans", name]) == 0
            assert self._train(["train", name]) == 0

    def _bundle_here(self, name: str) -> None:
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            self._bundle(name)
        finally:
            os.chdir(before)

    def _train(self, words: list[str]) -> int:
        bundle = Path(words[1])
        if self.trained is not None:
            shutil.copytree(self.trained / "models", bundle / "models", dirs_exist_ok=True)
            return 0
        assert words[2] == "--time_budget", words
        return main([*words[:2], "--max_epochs", "1", "--no_calibrate"])

    def _python(self, words: list[str]) -> int:
        """Python itself: a module, or an example of the checkout, in the folder."""
        if any(word.startswith("my_landmarks/") for word in words):
            self._bundle_here("my_landmarks")
        place = [str(REPOSITORY / words[0]), *words[1:]] if words[0].startswith("docs/examples/") else words
        return subprocess.run([sys.executable, *place], cwd=self.folder, stdout=subprocess.PIPE, check=False).returncode

    def _monai(self, words: list[str]) -> int:
        """MONAI's own command in the folder of a bundle, one epoch in the place of many."""
        bundle = self.folder / "BUNDLE"
        self._bundle_here(bundle.name)
        places = {"IMAGES": str(self.folder / "new_scans"), "POINTS": str(self.folder / "points")}
        words = [places.get(word, word) for word in words]
        short = ["--train#trainer#max_epochs", "1"] if "training" in words else []
        if words[0] == "torchrun":
            assert words[1:6] == ["--nproc_per_node=2", "-m", "monai.bundle", "run", "training"], words
            torchrun(bundle, words[words.index("--config_file") + 1], *short)
            return 0
        assert words[1:3] == ["-m", "monai.bundle"], words
        self.server.monai(bundle, *words[3:], *short)
        return 0
