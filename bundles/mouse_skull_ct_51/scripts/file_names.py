"""The names of the files in ``models/``, for whoever writes or reads them; without torch."""

from __future__ import annotations

WEIGHTS = "model.pt"
LATEST = "latest.pt"
SCORE = "score.json"
ENSEMBLE = "ensemble.json"
PROGRESS = "progress.jsonl"
CALIBRATION = "calibration.json"
COARSE_ERRORS = "coarse_errors.json"
SECOND_ROUND = "self_training.json"
