"""Headers of every answer that limit what a browser does with it."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from .middleware import HttpMiddleware

POLICY = "; ".join((
    "default-src 'self'",
    "img-src 'self' blob: data:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
))  # fmt: skip
"""Content-Security-Policy of pages: scripts and styles from this server's files alone, none inline."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# a file that a user uploaded is shown without any rights of a page
FILE_POLICY = "default-src 'none'; sandbox"


class SecurityHeaders(HttpMiddleware):
    """Add the headers to every answer that does not set them itself."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if not path.startswith("/static/"):
                    # pictures and pages belong to one user; no shared cache may keep them
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, add)
