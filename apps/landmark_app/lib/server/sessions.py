"""Sessions within bounds: how many, of whom, how large, and for how long.

MONAI Label keeps each session as a folder, takes any number, and removes those that are over only at its start.
"""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path
from typing import Any

from ..core.errors import ClientError

SECONDS_BETWEEN_LOOKS = 60.0


class BoundedSessions:
    """MONAI Label's sessions, of which there are never too many.

    Args:
        most: of all accounts together.
        each: of one account.
        max_bytes: of all of their files together.
    """

    def __init__(self, most: int, each: int, max_bytes: int) -> None:
        self.most = most
        self.each = each
        self.max_bytes = max_bytes
        # Whose a session is, is forgotten at a restart; it counts for all of them then.
        self._owners: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, sessions: Any, path: Path, *, account: str = "", expiry: int = 0, brief: bool = False) -> Any:
        """Make a session of a file, which is moved.

        Args:
            sessions: MONAI Label's.
            path: the file.
            account: whose it is.
            expiry: seconds without use after which it is over; 0 for as long as allowed.
            brief: whether it is over with the request; those are as few as the inferences, and only their bytes count.

        Raises:
            ClientError: status 429, there are too many; 413, the files of all would be too large.
        """
        with self._lock:
            self._remove_expired(sessions)
            folders = _folders(sessions)
            self._owners = {name: owner for name, owner in self._owners.items() if name in folders}
            own = list(self._owners.values()).count(account)
            if not brief and (len(folders) >= self.most or own >= self.each):
                raise ClientError(
                    f"{account} has {own} sessions, all accounts have {len(folders)}; at most {self.each} and "
                    f"{self.most} may be open; end one (DELETE /session/ID), or wait until one is over",
                    429,
                )
            taken = sum(_size(folder) for folder in folders.values())
            if taken + path.stat().st_size > self.max_bytes:
                raise ClientError(
                    f"the images of all sessions together would be larger than {self.max_bytes / 2**20:g} MB, what the "
                    "option max_sessions_mb allows; end a session (DELETE /session/ID), or wait until one is over",
                    413,
                )
            name = str(uuid.uuid4())
            try:
                _, session = sessions.add_session(str(path), expiry, session_id=name)
            except BaseException:
                sessions.remove_session(name)
                raise
            if not brief:
                self._owners[name] = account
        return session

    @staticmethod
    def get(sessions: Any, name: str, update_ts: bool = True) -> Any:
        """The session of a name, None where there is none, or its files are damaged."""
        try:
            return sessions.get_session(name, update_ts=update_ts)
        except (OSError, ValueError, AttributeError, TypeError):  # its description was cut short
            return None

    def remove_expired(self, sessions: Any) -> None:
        """Remove those that nobody used for their time, and what is no session."""
        with self._lock:
            self._remove_expired(sessions)

    def _remove_expired(self, sessions: Any) -> None:
        now = time.time()
        for name, folder in _folders(sessions).items():
            session = self.get(sessions, name, update_ts=False)
            if session is None:
                # Another process may write it at this moment.
                if now - folder.stat().st_mtime > SECONDS_BETWEEN_LOOKS:
                    sessions.remove_session(name)
            elif session.last_access_ts + (session.expiry or sessions.expiry) < now:
                sessions.remove_session(name)


def _folders(sessions: Any) -> dict[str, Path]:
    root = Path(sessions.store_path)
    return {path.name: path for path in root.iterdir() if path.is_dir()} if root.is_dir() else {}


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))
