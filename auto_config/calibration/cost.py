"""How much a calibration predicts, for those who must leave it time. Light: `train` asks before it imports anything."""

PREDICTIONS_OF_A_CASE = 4.5
"""How often a calibration predicts each validation case at most: whole, three times with a cut field of view, and half
of the cases once more, spoiled on purpose. A test counts; more looks at a case are added here."""
