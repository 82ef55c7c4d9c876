"""Routes for signing in."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from ..core.errors import ClientError
from .auth import Role, Tokens, account_of, sign_in
from .uploads import field, read_form


def auth_router(tokens: Tokens | None) -> APIRouter:
    """What MONAI Label's clients ask to find out whether to sign in, and to do it: the password is the token."""
    router = APIRouter(prefix="/auth")

    def on() -> Tokens:
        if tokens is None:
            raise ClientError("nobody has to sign in here", 404)
        return tokens

    @router.get("/")
    def enabled() -> Any:
        on()
        return {"enabled": True, "client_id": "landmark-app", "realm": ""}

    @router.post("/token")
    async def token(request: Request) -> Any:
        known = on()
        form = await read_form(request, 4096)
        given = field(form, "password")
        if sign_in(known, field(form, "username"), given) is None:
            raise ClientError("name and token do not belong together; the password is the token of the account", 401)
        return {"access_token": given, "token_type": "bearer"}

    @router.get("/token/valid")
    def valid(request: Request) -> Any:
        account = account_of(request)
        roles = [role.name.lower() for role in Role if role <= account.role]
        return {"username": account.name, "roles": roles}

    return router
