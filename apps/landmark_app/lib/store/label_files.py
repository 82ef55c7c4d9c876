"""The labels of a data store on disk: a canonical file for each image and tag, and everything that clients ever sent.

::

    labels/TAG/IMAGE.mrk.json                           the canonical label: Slicer Markups, LPS mm, names and status
    labels/TAG/uploads/IMAGE/STAMP/upload/IMAGE.nrrd    a file as a client sent it
    labels/TAG/uploads/IMAGE/STAMP/canonical.mrk.json   what it became
    labels/TAG/uploads/IMAGE/STAMP/info.json            what is known of it

The files are the only truth, so a restart finds everything, and so does a canonical file that a person puts there or
corrects. An upload is complete before the canonical file is replaced, and both happen atomically: a kill leaves the old
label or the new one. An upload belongs to the label as long as the canonical file is what it became.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.points.landmark_files import read_markups, write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError, LandmarkSet

from ..core.errors import ClientError
from ..core.links import leaves

CANONICAL_ENDING = ".mrk.json"
_UPLOADS = "uploads"


@dataclass(frozen=True)
class _Read:
    """A canonical file as it was read: which state of it, its hash, and its landmarks or what is wrong."""

    state: tuple[Any, ...]
    digest: str
    landmarks: LandmarkSet | None
    problem: str | None


class LabelFiles:
    """The labels in a folder; safe between threads and processes.

    Ids and tags must be good names of files; who calls checks them.

    Args:
        folder: The folder ``labels``.
        many: Gives the names that may be repeated in a label, each time as another instance.
        follow_links: Whether links to files outside of the folder are labels.
    """

    def __init__(
        self, folder: Path, many: Callable[[], Collection[str]] = tuple, *, follow_links: bool = False
    ) -> None:
        self.folder = folder
        self._many = many
        self._follow_links = follow_links
        self._seen: dict[Path, _Read] = {}
        self._seen_lock = threading.Lock()

    def canonical_path(self, image_id: str, tag: str) -> Path:
        """Where the canonical label is, or would be."""
        return self.folder / tag / f"{image_id}{CANONICAL_ENDING}"

    def tags(self) -> list[str]:
        """All tags, also those without any label left."""
        if not self.folder.is_dir():
            return []
        return sorted(
            path.name
            for path in self.folder.iterdir()
            if path.is_dir() and not path.name.startswith(".") and not self._leaves(path)
        )

    def has(self, image_id: str, tag: str) -> bool:
        """Whether there is a label that can be read."""
        return self.landmarks(image_id, tag) is not None

    def landmarks(self, image_id: str, tag: str) -> LandmarkSet | None:
        """The landmarks of a label in world RAS mm; None where there is none or it cannot be read (see `problem`)."""
        read = self._read(self.canonical_path(image_id, tag))
        return read.landmarks if read else None

    def problem(self, image_id: str, tag: str) -> str | None:
        """What is wrong with the canonical file, in one line without the server's paths; None where nothing is."""
        read = self._read(self.canonical_path(image_id, tag))
        return read.problem if read else None

    def shown_file(self, image_id: str, tag: str) -> Path | None:
        """The file that a client gets: the upload that the label came from, else the canonical one, if any."""
        path = self.canonical_path(image_id, tag)
        upload = self._upload_of(image_id, tag)
        files = sorted((upload / "upload").iterdir()) if upload else []
        shown = files[0] if files else path
        return shown if shown.is_file() and not self._leaves(shown) else None

    def info(self, image_id: str, tag: str) -> dict[str, Any]:
        """What is known of a label: what the client sent with it, ``ts``, ``name``, and what was added since."""
        shown = self.shown_file(image_id, tag)
        if shown is None:
            return {}
        upload = self._upload_of(image_id, tag)
        stored = _json(upload / "info.json").get("info", {}) if upload else {}
        added = _json(self._added_path(image_id, tag))
        extra = added.get("info", {}) if added.get("canonical") == self._digest(image_id, tag) else {}
        return {"ts": int(shown.stat().st_mtime), "name": shown.name, **stored, **extra}

    def update_info(self, image_id: str, tag: str, info: Mapping[str, Any]) -> None:
        """Add to what is known of a label; it is forgotten with the next one."""
        with self._lock():
            path, digest = self._added_path(image_id, tag), self._digest(image_id, tag)
            added = _json(path)
            old = added.get("info", {}) if added.get("canonical") == digest else {}
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(path, json.dumps({"canonical": digest, "info": {**old, **info}}, default=str))

    def save(
        self, image_id: str, tag: str, upload: Path, *, ending: str, landmarks: LandmarkSet, info: Mapping[str, Any]
    ) -> None:
        """Keep an upload and make its landmarks the label. Everything that was there before stays in ``uploads``.

        Args:
            image_id: Id of the image.
            tag: Tag of the label.
            upload: The file that the client sent; it is copied.
            ending: Its ending, kept in the name of the copy.
            landmarks: What it became, world RAS mm.
            info: What is known of it, as JSON.
        """
        path = self.canonical_path(image_id, tag)
        self._refuse_links(path.parent, self._uploads(image_id, tag))
        with self._lock():
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in self._uploads(image_id, tag).glob(".*.tmp"):  # by a kill; nobody else writes here now
                shutil.rmtree(left, ignore_errors=True)
            if path.is_file() and self._upload_of(image_id, tag) is None:  # put there by hand
                by_hand = {"form": "by hand"}
                self._keep(image_id, tag, path, ending=CANONICAL_ENDING, canonical=path.read_bytes(), info=by_hand)
            canonical = _markups_bytes(path.parent, image_id, landmarks)
            kept = self._keep(image_id, tag, upload, ending=ending, canonical=canonical, info=info)
            atomic_write_text(path, (kept / "canonical.mrk.json").read_text(encoding="utf-8"))

    def remove(self, image_id: str, tag: str) -> None:
        """Remove a label in all its forms; not being there is no error."""
        self._refuse_links(self.canonical_path(image_id, tag).parent, self._uploads(image_id, tag))
        with self._lock():
            self.canonical_path(image_id, tag).unlink(missing_ok=True)
            shutil.rmtree(self._uploads(image_id, tag), ignore_errors=True)

    def history(self, image_id: str, tag: str) -> list[Path]:
        """Every file that was sent as this label, oldest first."""
        return [path for stamp in self._stamps(image_id, tag) for path in sorted((stamp / "upload").iterdir())]

    def _keep(
        self, image_id: str, tag: str, upload: Path, *, ending: str, canonical: bytes, info: Mapping[str, Any]
    ) -> Path:
        """Make the folder of an upload, whole or not at all."""
        uploads = self._uploads(image_id, tag)
        temporary = uploads / f".{uuid.uuid4().hex}.tmp"
        (temporary / "upload").mkdir(parents=True)
        try:
            shutil.copyfile(upload, temporary / "upload" / f"{image_id}{ending}")
            (temporary / "canonical.mrk.json").write_bytes(canonical)
            content = {"canonical": hashlib.sha256(canonical).hexdigest(), "info": dict(info)}
            (temporary / "info.json").write_text(json.dumps(content, default=str), encoding="utf-8")
            # Microseconds sort, and the lock keeps two of them apart.
            stamp = uploads / datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
            temporary.rename(stamp)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return stamp

    def _leaves(self, path: Path) -> bool:
        return not self._follow_links and leaves(path, self.folder)

    def _refuse_links(self, *folders: Path) -> None:
        """Raise a ClientError where writing into folders would write elsewhere."""
        if any(map(self._leaves, folders)):
            raise ClientError("the folder of these labels is a link to one elsewhere; none are kept there", 403)

    def _uploads(self, image_id: str, tag: str) -> Path:
        return self.folder / tag / _UPLOADS / image_id

    def _added_path(self, image_id: str, tag: str) -> Path:
        return self._uploads(image_id, tag) / "added.json"

    def _stamps(self, image_id: str, tag: str) -> list[Path]:
        """Folders of complete uploads, oldest first."""
        return sorted(path.parent for path in self._uploads(image_id, tag).glob("[0-9]*/upload"))

    def _upload_of(self, image_id: str, tag: str) -> Path | None:
        """Folder of the newest upload that the canonical file is of; None where it was put there by hand."""
        digest = self._digest(image_id, tag)
        if digest is None:
            return None
        stamps = reversed(self._stamps(image_id, tag))
        return next((stamp for stamp in stamps if _json(stamp / "info.json").get("canonical") == digest), None)

    def _digest(self, image_id: str, tag: str) -> str | None:
        read = self._read(self.canonical_path(image_id, tag))
        return read.digest if read else None

    def _read(self, path: Path) -> _Read | None:
        """Read a canonical file, once for each state of it."""
        if self._leaves(path):
            return None
        try:
            stat = path.stat()
            many = frozenset(self._many())
            state = (stat.st_mtime_ns, stat.st_size, stat.st_ino, many)
            with self._seen_lock:
                seen = self._seen.get(path)
            if seen is not None and seen.state == state:
                return seen
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            return None
        try:
            read = _Read(state, digest, read_markups(path, many=many), None)
        except LandmarkFileError as error:
            read = _Read(state, digest, None, str(error).replace(str(path), f"{path.parent.name}/{path.name}"))
        with self._seen_lock:
            self._seen[path] = read
        return read

    def _lock(self) -> FileLock:
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(str(self.folder / ".lock"))


def _markups_bytes(folder: Path, image_id: str, landmarks: LandmarkSet) -> bytes:
    """The content of the canonical file of these landmarks."""
    temporary = folder / f".{uuid.uuid4().hex}{CANONICAL_ENDING}"
    try:
        write_markups(temporary, landmarks, node_name=image_id)
        return temporary.read_bytes()
    finally:
        temporary.unlink(missing_ok=True)


def _json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, empty if there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
