"""How a process that predicts begins: it imports as much of MONAI as the one that started it."""

from __future__ import annotations

import pickle
from typing import Any

from auto_config.bundle import light_monai


def begin(put_off: bool, job: bytes, *given: Any) -> None:
    """Work in a process that has imported nothing yet.

    Args:
        put_off: Whether the imports of MONAI are put off.
        job: A pickled `Job`; as bytes, because reading it imports MONAI.
        given: Further arguments of `work`.
    """
    if put_off:
        light_monai.install()
    from auto_config.prediction.sharing.workers import work

    work(pickle.loads(job), *given)  # noqa: S301 -- of the process that started this one
