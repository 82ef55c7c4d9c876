"""Who may ask what: tokens with a role, and without tokens this machine alone.

A browser sends its requests to a server of this machine from any web page that it shows. So even without tokens, a
request that changes something must come from a page of this server, and the name of the server in it must be one that
no foreign DNS entry can take.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError
from auto_config.running.exposure import is_loopback, names_this_machine

from ..core.answers import error_response
from ..core.errors import ClientError

CHALLENGE = {"WWW-Authenticate": 'Basic realm="landmark app", charset="UTF-8"'}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SHORTEST_TOKEN = 20
_HOST = re.compile(r"([A-Za-z0-9._\-]*|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9.\-]+)?\])(:[0-9]{0,5})?")
# Clients ask here whether, and how, they have to sign in.
OPEN_PATHS = frozenset({"/auth", "/auth/", "/auth/token"})


class Role(IntEnum):
    """What an account may do; each role includes those before it."""

    ANNOTATE = 1
    TRAIN = 2
    ADMIN = 3


@dataclass(frozen=True)
class Account:
    """A name with a role."""

    name: str
    role: Role


@dataclass(frozen=True)
class Tokens:
    """The accounts of a server, by their tokens."""

    accounts: tuple[tuple[bytes, Account], ...]

    def account(self, token: str) -> Account | None:
        """The account of a token; the time that this takes says nothing about the tokens."""
        given = token.encode()
        found = None
        for known, account in self.accounts:
            if hmac.compare_digest(known, given):
                found = account
        return found


def read_tokens(path: Path) -> Tokens:
    """The accounts of a file with a line `NAME ROLE TOKEN` each; empty lines and those that begin with # are skipped.

    Raises:
        ValueError: the file cannot be read, holds no account, or has a line that is wrong. Tokens are never quoted.
    """
    try:
        lines = read_text(path).split("\n")
    except LandmarkFileError as error:
        raise ValueError(f"the file of tokens: {error}") from None
    accounts: list[tuple[bytes, Account]] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{path}, line {number}"
        if len(words) != 3:
            raise ValueError(f"{where}: {len(words)} words; write NAME ROLE TOKEN")
        name, role, token = words
        if role.upper() not in Role.__members__:
            raise ValueError(f"{where}: unknown role {role}; write annotate, train or admin")
        if not re.fullmatch(rf"[A-Za-z0-9._~+/=-]{{{SHORTEST_TOKEN},}}", token):
            raise ValueError(
                f"{where}: a token has {SHORTEST_TOKEN} or more of letters, digits and ._~+/=-; "
                'python -c "import secrets; print(secrets.token_urlsafe(32))" makes one'
            )
        if any(token.encode() == known for known, _ in accounts):
            raise ValueError(f"{where}: this token is a duplicate")
        accounts.append((token.encode(), Account(name, Role[role.upper()])))
    if not accounts:
        raise ValueError(f"the file of tokens {path} is empty; write a line NAME ROLE TOKEN for each account")
    return Tokens(tuple(accounts))


def credentials(authorization: str | None) -> tuple[str | None, str] | None:
    """User name (None for a bearer) and token of an Authorization header; None where it holds none."""
    scheme, _, rest = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return None, rest.strip()
    if scheme.lower() == "basic":
        try:
            name, colon, token = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return (name, token) if colon else None
    return None


class Guard:
    """ASGI middleware: every request has an account, or is refused.

    Args:
        app: what is guarded.
        tokens: the accounts; None: whoever asks from this machine may do everything that is switched on.
        insecure: without tokens, answer other machines too.
        origins: origins of web pages that may send requests, beside the server's own.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens | None, insecure: bool, origins: Iterable[str]) -> None:
        self.app = app
        self.tokens = tokens
        self.insecure = insecure
        self.origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with `state["account"]`, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not _HOST.fullmatch(headers.get("host", "")):
            await error_response(400, "the header Host is no name or address of a machine")(scope, receive, send)
            return
        problem = self._from_elsewhere(scope, headers) or self._from_another_page(scope, headers)
        if problem:
            await error_response(403, problem)(scope, receive, send)
            return
        account = self._account(headers)
        if account is None and scope["path"] not in OPEN_PATHS:
            message = "sign in with a token of this server (Authorization: Bearer TOKEN)"
            await error_response(401, message, CHALLENGE)(scope, receive, send)
            return
        scope.setdefault("state", {})["account"] = account
        await self.app(scope, receive, send)

    def _from_elsewhere(self, scope: Scope, headers: Headers) -> str | None:
        if self.tokens is not None or self.insecure:
            return None
        client = scope.get("client")
        if client is None or not is_loopback(client[0]):
            return "without tokens this server answers its own machine only; start it with --tokens FILE"
        if not names_this_machine(headers.get("host", "")):
            return "without tokens this server is called by its address or as localhost, not by another name"
        return None

    def _from_another_page(self, scope: Scope, headers: Headers) -> str | None:
        origin = headers.get("origin")
        if origin is None or scope["method"] in SAFE_METHODS or origin in self.origins:
            return None
        with suppress(ValueError):  # an origin that is no address
            if urlsplit(origin).netloc == headers.get("host"):
                return None
        return "this web page may not send requests to the server; its option cors_origins lists those that may"

    def _account(self, headers: Headers) -> Account | None:
        if self.tokens is None:
            return Account("local", Role.ADMIN)
        given = credentials(headers.get("authorization"))
        return sign_in(self.tokens, *given) if given else None


def sign_in(tokens: Tokens, name: str | None, token: str) -> Account | None:
    """The account of a token, if the name, where one is given, is that account's."""
    account = tokens.account(token)
    return account if account is not None and name in (None, account.name) else None


def account_of(request: Request) -> Account:
    """The account of a request that passed the `Guard`.

    Raises:
        ClientError: status 401; there is none.
    """
    account = getattr(request.state, "account", None)
    if account is None:
        raise ClientError("sign in with a token of this server", 401)
    return account


def needs(role: Role) -> Callable[[Request], Awaitable[Account]]:
    """A dependency of routes: the request's account, if it has the role.

    It is a coroutine, since FastAPI runs functions in threads, and a change of threads costs more than the question.

    Raises:
        ClientError: status 403; it has a lower one.
    """

    async def check(request: Request) -> Account:
        account = account_of(request)
        if account.role < role:
            raise ClientError(
                f"{account.name} has the role {account.role.name.lower()}; this needs the role {role.name.lower()}", 403
            )
        return account

    return check
