"""The search for how an image lies, in calibrations: where it would be in vain, and how long it may take elsewhere."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

from auto_config.bundle.opened import OpenBundle, find_of

MOST_LOOKS = 24
"""So often a network of one stage looks at a whole image whose first answer is implausible: in each quarter turn."""


def as_they_lie(opened: OpenBundle) -> OpenBundle:
    """The same bundle, without a search for poses where cases lie alike: it was planned from how these lie.

    A network that has learnt little gives implausible answers for all of them, and would look at each in every pose.
    """
    pose = _search(opened)
    if pose is None or pose.free:
        return opened
    inferer = copy(opened.inferer)
    inferer.pose = None
    return replace(opened, inferer=inferer, find=find_of(inferer))


def looks_of(opened: OpenBundle) -> int:
    """How many times as long as another an image may take that is implausible as it lies.

    Where a coarse stage looks around, its looks are cheap beside those of the fine stage.
    """
    pose = _search(opened)
    has_coarse = hasattr(opened.inferer, "coarse_decoder")
    return 1 if pose is None or has_coarse else MOST_LOOKS


def _search(opened: OpenBundle) -> Any:
    """What tries poses, None where nothing does; inferers of earlier versions have none."""
    pose = vars(opened.inferer).get("pose")
    return pose if pose is not None and vars(pose).get("search", True) else None
