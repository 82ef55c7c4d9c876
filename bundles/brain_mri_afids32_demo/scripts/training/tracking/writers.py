"""Places that numbers, pictures and texts are written to: TensorBoard, MLflow, Weights & Biases."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

OFFLINE, ONLINE = "offline", "online"


class Writer(Protocol):
    """One place; `has_curves` says that MONAI's own handler writes loss, learning rate and metrics there."""

    has_curves: bool

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Numbers of a step; none of them is NaN."""
        ...

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """A picture ``(height, width, 3)`` uint8."""
        ...

    def texts(self, texts: Mapping[str, str], values: Mapping[str, Any]) -> None:
        """What does not change: whole texts, and short values to search for."""
        ...

    def close(self) -> None:
        """The training has ended."""
        ...


class TensorBoardWriter:
    """An event file.

    Args:
        folder: of the event files.
    """

    has_curves = True

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """A curve for each."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """On the page of images."""
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def texts(self, texts: Mapping[str, str], values: Mapping[str, Any]) -> None:
        """On the page of texts, as code; a table of the values."""
        for name, text in texts.items():
            # Indented text is code in Markdown, whatever is in it.
            self._writer.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()))
        rows = [f"| {name} | {value} |" for name, value in values.items()]
        self._writer.add_text("versions", "\n".join(["| what | value |", "|---|---|", *rows]))

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()


class MlflowWriter:
    """The run of MONAI's own handler, which ``--tracking mlflow`` adds; it writes loss, learning rate and metrics.

    Args:
        handler: MONAI's `MLFlowHandler`, whose run has begun.
    """

    has_curves = True

    def __init__(self, handler: Any) -> None:
        self._client, self._run = handler.client, handler.cur_run.info.run_id

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Metrics of the run."""
        for name, value in values.items():
            self._client.log_metric(self._run, _plain(name), value, step=step)

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """An artifact of the run."""
        self._client.log_image(self._run, picture, artifact_file=f"{name}/{step:06d}.png")

    def texts(self, texts: Mapping[str, str], values: Mapping[str, Any]) -> None:
        """Artifacts, and parameters of the run."""
        for name, text in texts.items():
            self._client.log_text(self._run, text, f"{name}.json")
        known = self._client.get_run(self._run).data.params
        for name, value in values.items():
            if name not in known:  # MLflow refuses a second value, as after a resume
                self._client.log_param(self._run, name, value)

    def close(self) -> None:
        """MONAI's handler ends the run."""


def _plain(name: str) -> str:
    """MLflow takes letters, digits and a few signs in names of metrics."""
    return "".join(sign if sign.isalnum() or sign in "_-./ " else "_" for sign in name)


class WandbWriter:
    """A run of Weights & Biases: a folder on this machine, sent nowhere unless `mode` is "online".

    Args:
        mode: "offline" or "online".
        folder: that its folder ``wandb`` is written into.
        project: that the run belongs to.
    """

    has_curves = False

    def __init__(self, mode: str, folder: Path, project: str) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        # Code, console and machine are not looked at; all that is kept is what is written here.
        settings = wandb.Settings(
            console="off",
            silent=True,
            x_disable_stats=True,
            x_disable_meta=True,
            save_code=False,
            x_save_requirements=False,
        )
        self._wandb = wandb
        self._run = wandb.init(mode=mode, dir=str(folder), project=_project(project), settings=settings)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """A row of the run's history; its own column says which epoch."""
        self._run.log({"epoch": step, **values})

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """A file of the run."""
        self._run.log({"epoch": step, name: self._wandb.Image(picture)})

    def texts(self, texts: Mapping[str, str], values: Mapping[str, Any]) -> None:
        """The configuration of the run."""
        self._run.config.update({**values, **{name: json.loads(text) for name, text in texts.items()}})

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def _project(name: str) -> str:
    """The name of a project; wandb refuses some signs, and more than 128 of them."""
    return "".join("_" if sign in "/\\#?%:" else sign for sign in name)[:128]


def checked_wandb(mode: str | None) -> str | None:
    """Say at once what would fail when the training has begun.

    Args:
        mode: None for none.

    Raises:
        ValueError: it is another word, or wandb is not installed.
    """
    if mode not in (None, OFFLINE, ONLINE):
        raise ValueError(f"wandb is {mode!r}; allowed are 'offline' (nothing is sent), 'online' and null")
    if mode is not None and importlib.util.find_spec("wandb") is None:
        raise ValueError("wandb is not installed: pip install wandb, or leave the tracking by it out")
    return mode
