"""Headers of every answer that tell a browser what it must not do with it.

Answers are data of others: of a PACS, of a bundle, of whoever sent an image. Opened as a page of this server, one that
holds a script would act in the name of the user. So nothing is a page but OHIF's own files.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

VIEWER = "/ohif"
FOR_DATA = "default-src 'none'; frame-ancestors 'none'; sandbox"
# OHIF sets styles in its pages, compiles expressions, decodes pixels with WebAssembly in workers that it makes from
# blobs, and shows pictures that it draws itself. It talks to this server alone.
FOR_VIEWER = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)


def headers_for(path: str) -> Mapping[str, str]:
    """The headers of an answer.

    Args:
        path: of the request.
    """
    viewer = path == VIEWER or path.startswith(VIEWER + "/")
    return {
        "Content-Security-Policy": FOR_VIEWER if viewer else FOR_DATA,
        "X-Frame-Options": "SAMEORIGIN" if viewer else "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


class SafeHeaders:
    """ASGI middleware that sets `headers_for` on every answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back with more headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers_for(scope["path"]))
            await send(message)

        await self.app(scope, receive, with_headers)
