"""Where a training is followed beside TensorBoard: the word of the command line as ids of train.json."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from auto_config.errors import UserError
from auto_config.wording import install_line

PLACES = {"mlflow": "mlflow", "wandb": "wandb", "wandb-online": "wandb", "tensorboard": "tensorboard"}
"""Words of ``--tracking``, each with the package that it needs."""


def tracking_overrides(tracking: str | None) -> dict[str, Any]:
    """What MONAI's command line is told.

    Args:
        tracking: a word of `PLACES`, the path of a file of MONAI's settings, or None.

    Returns:
        Ids of ``train.json`` and arguments of ``monai.bundle run``.

    Raises:
        UserError: it is neither, or the package is not installed.
    """
    if tracking is None:
        return {}
    if tracking not in PLACES:
        if Path(tracking).is_file():
            return {"tracking": tracking}
        raise UserError(
            f"--tracking {tracking}: is neither {', '.join(PLACES)} nor a file of MONAI's settings; give one of them"
        )
    package = PLACES[tracking]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"--tracking {tracking}: {package} is not installed; {install_line(package)}")
    if package == "wandb":
        return {"wandb": "online" if tracking == "wandb-online" else "offline"}
    return {"tracking": "mlflow"} if package == "mlflow" else {}
