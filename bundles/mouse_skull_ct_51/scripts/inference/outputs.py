"""The handler with which ``python -m monai.bundle run --config_file configs/inference.json`` writes its predictions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ..images.files import case_name
from ..images.frame import original_center
from .prediction_files import PredictionFolder, foreign_file, previous_cases


class PredictionWriter:
    """Write the predictions of a MONAI evaluator as ``auto_config predict`` writes them.

    Attach it as a handler of an evaluator whose post-processing leaves ``result``. Each image's ``CASE.mrk.json`` is
    written after its iteration, ``predictions.csv`` and ``run.json`` at the end of the epoch. The name of a case is the
    item's ``case``; where it has none, the file name of its image.

    Args:
        output_dir: folder of the predictions.
        landmarks: path of the bundle's ``configs/landmarks.json``; ``metadata.json`` is read from the same folder.
        image_key: key of the preprocessed image.
    """

    def __init__(self, output_dir: str, landmarks: str, image_key: str = "image") -> None:
        self.output_dir = Path(output_dir)
        self.bundle = Path(landmarks).resolve().parent.parent
        self.image_key = image_key

    def attach(self, engine: Engine) -> None:
        """Register the handler's events with an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._start_clock)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:  # noqa: ARG002  # the form of an ignite handler
        self._previous = previous_cases(self.output_dir)
        self._folder = PredictionFolder(self.output_dir, self.bundle)
        self._clock = time.perf_counter()

    def _start_clock(self, engine: Engine) -> None:  # noqa: ARG002
        self._clock = time.perf_counter()

    def _write(self, engine: Engine) -> None:
        items: list[dict[str, Any]] = engine.state.output
        seconds = (time.perf_counter() - self._clock) / len(items)
        for batch_item, item in zip(engine.state.batch, items, strict=True):
            image = batch_item[self.image_key]
            case = self._name(batch_item)
            own = self._previous | self._folder.cases.keys()
            if (path := foreign_file(self.output_dir, case, own)) is not None:
                raise ValueError(f"{path}: exists and is no earlier prediction; choose another output_dir")
            dims = len(item["result"]["landmarks"][0]["world"])
            self._folder.write(case, item["result"], image_center=original_center(image, dims), seconds=seconds)

    def _name(self, item: dict[str, Any]) -> str:
        """Name of the item's case: its ``case``, else its file's name, with the folder's in front if it is taken."""
        if item.get("case"):
            return str(item["case"])
        path = Path(str(item[self.image_key].meta["filename_or_obj"]))
        case = case_name(path)
        return f"{path.parent.name}_{case}" if case in self._folder.cases else case

    def _finish(self, engine: Engine) -> None:  # noqa: ARG002
        self._folder.finish(options={"command": "monai.bundle"})
