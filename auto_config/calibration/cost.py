"""How much a calibration predicts, for those who must leave it time. Light: `train` asks before it imports anything."""

PREDICTIONS_OF_A_CASE = 1
"""How often a calibration predicts each validation case. A test counts; more looks at a case are added here."""
