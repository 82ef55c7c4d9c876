"""What a person may set about the server with `--conf NAME VALUE`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ADMIN_PARTS = ("model", "reload", "logs")
MEGABYTE = 2**20


@dataclass(frozen=True)
class ServerOptions:
    """The options of the server; every one has a safe default.

    Args:
        tokens: file of tokens, see `auth.read_tokens`; None: no tokens, and only this machine is answered.
        insecure: answer other machines without tokens too.
        cors_origins: web pages of other origins that may read answers, e.g. `https://viewer.example.org`.
        admin: of `model`, `reload`, `logs`, the endpoints that are switched on.
        max_upload_bytes: largest body of a request.
        max_params_bytes: largest `params` field of a form.
        max_voxels: largest image or label of a client, in voxels of all its channels.
        inference_workers: inferences at the same time.
        inference_queue: inferences that may wait; one more is answered 429.
        check_workers: sent files that are checked at the same time.
        sessions: most sessions of all accounts together.
        sessions_each: most sessions of one account.
        max_sessions_bytes: what the images of all sessions together may take on disk.
    """

    tokens: Path | None = None
    insecure: bool = False
    cors_origins: tuple[str, ...] = ()
    admin: frozenset[str] = frozenset()
    max_upload_bytes: int = 2048 * MEGABYTE
    max_params_bytes: int = 2 * MEGABYTE
    max_voxels: int = 2**29
    inference_workers: int = 1
    inference_queue: int = 64
    check_workers: int = 2
    sessions: int = 64
    sessions_each: int = 32
    max_sessions_bytes: int = 16 * 1024 * MEGABYTE

    @property
    def max_total_bytes(self) -> int:
        """What the bodies of all requests together may have."""
        return 4 * self.max_upload_bytes


def _flag(conf: Mapping[str, str], name: str) -> bool:
    given = str(conf.get(name, "false")).strip().lower()
    if given not in {"true", "false"}:
        raise ValueError(f"--conf {name} {given}: give true or false")
    return given == "true"


def _count(conf: Mapping[str, str], name: str, default: int) -> int:
    given = str(conf.get(name, default)).strip()
    if not re.fullmatch(r"[0-9]{1,9}", given) or int(given) < 1:
        raise ValueError(f"--conf {name} {given}: give a whole number of 1 or more")
    return int(given)


def _words(conf: Mapping[str, str], name: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", str(conf.get(name, ""))) if word]


def read_options(conf: Mapping[str, str]) -> ServerOptions:
    """The options of an app's `conf`; keys of other parts of the app are not looked at.

    Raises:
        ValueError: an option is not what it may be; one line that says which and what is allowed.
    """
    origins = _words(conf, "cors_origins")
    for origin in origins:
        if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", origin):
            raise ValueError(
                f"--conf cors_origins {origin}: give origins like https://viewer.example.org:3000, no path, no *"
            )
    admin = _words(conf, "admin_endpoints")
    if unknown := sorted(set(admin) - set(ADMIN_PARTS)):
        raise ValueError(f"--conf admin_endpoints {','.join(unknown)}: give any of {','.join(ADMIN_PARTS)}")
    tokens = str(conf.get("tokens", "")).strip()
    defaults = ServerOptions()
    return ServerOptions(
        tokens=Path(tokens).expanduser() if tokens else None,
        insecure=_flag(conf, "insecure"),
        cors_origins=tuple(origins),
        admin=frozenset(admin),
        max_upload_bytes=_count(conf, "max_upload_mb", defaults.max_upload_bytes // MEGABYTE) * MEGABYTE,
        max_params_bytes=_count(conf, "max_params_mb", defaults.max_params_bytes // MEGABYTE) * MEGABYTE,
        max_voxels=_count(conf, "max_voxels", defaults.max_voxels),
        inference_workers=_count(conf, "inference_workers", defaults.inference_workers),
        inference_queue=_count(conf, "inference_queue", defaults.inference_queue),
        check_workers=_count(conf, "check_workers", defaults.check_workers),
        sessions=_count(conf, "max_sessions", defaults.sessions),
        sessions_each=_count(conf, "max_sessions_each", defaults.sessions_each),
        max_sessions_bytes=_count(conf, "max_sessions_mb", defaults.max_sessions_bytes // MEGABYTE) * MEGABYTE,
    )
