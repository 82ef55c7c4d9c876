"""What is kept of the newest images between clicks: what the network saw, and where a person clicked."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from auto_config.prediction.corrected import Look

MOST_IMAGES, MOST_BYTES, LONGEST_S = 4, 1 << 30, 1800.0

_Key = tuple[str, int, int]


@dataclass
class Session:
    """The corrections of an image.

    Attributes:
        look: what the network saw of it.
        clicks: RAS mm of viewers (3,) of each landmark that was clicked, the last click of each.
        used: when it was used last, in seconds of the clock.
    """

    look: Look
    clicks: dict[str, np.ndarray] = field(default_factory=dict)
    used: float = 0.0


class Looks:
    """Sessions of the images that were used last; the others are dropped, and so is one that nobody uses any more.

    The newest one is kept whatever its size, because each click needs it.

    Args:
        most_images: sessions that are kept.
        most_bytes: of all sessions but the newest.
        longest_s: after so long without use a session is dropped, when another is asked for.
        clock: seconds.
    """

    def __init__(
        self,
        most_images: int = MOST_IMAGES,
        most_bytes: int = MOST_BYTES,
        longest_s: float = LONGEST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = (most_images, most_bytes, longest_s)
        self._clock = clock
        self._sessions: OrderedDict[_Key, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, image: Path) -> Session | None:
        """The session of an image, if the file is still the one that was looked at."""
        self._drop_old()
        key = _key(image)
        session = self._sessions.get(key)
        if session is not None:
            self._sessions.move_to_end(key)
            session.used = self._clock()
            self._drop_most()
        return session

    def start(self, image: Path, look: Look) -> Session:
        """A new session of an image, without clicks."""
        self._drop_old()
        session = Session(look, used=self._clock())
        self._sessions[_key(image)] = session
        self._sessions.move_to_end(_key(image))
        self._drop_most()
        return session

    def clear(self) -> None:
        """Drop all, as when the bundle has changed."""
        self._sessions.clear()

    def _drop_old(self) -> None:
        limit = self._clock() - self._limits[2]
        for key in [key for key, session in self._sessions.items() if session.used < limit]:
            del self._sessions[key]

    def _drop_most(self) -> None:
        most_images, most_bytes, _ = self._limits
        while len(self._sessions) > 1 and (
            len(self._sessions) > most_images or sum(one.look.bytes() for one in self._sessions.values()) > most_bytes
        ):
            self._sessions.popitem(last=False)


def _key(image: Path) -> _Key:
    """Name, time of change and size of a file, or of a folder of files."""
    state = image.stat()
    return str(image), state.st_mtime_ns, state.st_size
