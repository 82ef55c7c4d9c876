"""The step of post-processing that says whether a prediction can be trusted."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor

from ...points.instances import Instances
from ...points.landmark_names import read_landmark_names
from ...points.landmark_text import read_text
from ...points.peaks import Peaks, unpack_peaks
from ..calibration import Calibration, read_calibration
from ..extent import Extent
from .image import image_numbers
from .judging import Verdict, case_deviations, distrusted, judge
from .known import read_known_cases
from .scores import case_scores


class CaseVerdictd(MapTransform):
    """Add ``verdict`` to ``data["result"]``: ``ok``, ``check`` or ``failed``, and why.

    ``result["verdict"]`` is ``{"verdict", "reasons": [sentences], "not_judged": [what], "deviations": {number: how many
    standard deviations it lies beyond other cases}}``. The landmarks stay as they are, also in a case that has failed;
    whoever shows their regions must not promise that they hold then.

    Args:
        keys: key of the peaks (R, W) in world mm, as `PeaksToWorldd` leaves them.
        ref_image: key of the preprocessed image with the meta data of its file.
        landmarks: path of ``configs/landmarks.json``.
        training: path of ``configs/verdict.json``, which need not be there.
        calibration: path of ``models/calibration.json``, which need not be there; None for none.
        instances: which rows belong to which landmark, as `LandmarkResultd` has it.

    Raises:
        ValueError: when made, if one of the files cannot be used.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        ref_image: str = "image",
        *,
        landmarks: str | Path,
        training: str | Path,
        calibration: str | Path | None = None,
        instances: Instances | None = None,
    ) -> None:
        super().__init__(keys)
        self.ref_image = ref_image
        names = read_landmark_names(landmarks)
        self.unit = str(json.loads(read_text(Path(landmarks))).get("unit", "mm"))
        self.instances = Instances.single(names) if instances is None else instances
        self.calibration = None if calibration is None else read_calibration(calibration, names)
        self.known = read_known_cases(training, calibration, names)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` whose result has a verdict."""
        out = dict(data)
        for key in self.key_iterator(out):
            rows = convert_to_tensor(out[key], dtype=torch.float64, device="cpu", track_meta=False)
            verdict, deviations = self._verdict(unpack_peaks(rows), out[self.ref_image])
            found = {**verdict.document(), "deviations": deviations}
            out["result"] = {**out["result"], "verdict": found}
        return out

    def _verdict(self, peaks: Peaks, image: Any) -> tuple[Verdict, dict[str, float]]:
        known = self.known
        scores = case_scores(
            peaks,
            called_present(peaks, self.calibration, self.instances, Extent.of(image, peaks.points.shape[1])),
            image_numbers(image, peaks.points.shape[1]),
            instances=self.instances,
            shape=known.shape,
            ranges=known.ranges,
        )
        found = {} if known.reference is None else case_deviations(scores, known.reference)
        rounded = {name: round(value, 3) for name, value in found.items()}
        return distrusted(judge(scores, known.reference, unit=self.unit), known.useless), rounded


def called_present(
    peaks: Peaks, calibration: Calibration | None, instances: Instances, extent: Extent | None
) -> np.ndarray:
    """(R,) bool: the rows that a calibration calls present, whatever `all_present` says; all where nobody judges."""
    there: np.ndarray = peaks.points.isfinite().all(dim=-1).numpy()
    if calibration is None:
        return there
    probability = calibration.probability(peaks, instances.channels, extent if calibration.needs_extent else None)
    return there if probability is None else there & calibration.present(probability, instances.channels)
