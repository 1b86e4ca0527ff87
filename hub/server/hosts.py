"""By which names the hub may be reached: the check of `Host`.

Owns the rule, which is a defence against DNS rebinding: the page of an attacker whose name suddenly leads to 127.0.0.1
has the right `Origin` for that name, so only the name itself gives it away. A browser sends the name that its user
sees; no page can make it send another one.
"""

import re
from typing import Any

from aiohttp import web

from hub.protocol import Error
from hub.server.replies import Handler, reply
from hub.settings import is_loopback

_HOST = re.compile(r"(\[[^]]*\]|[^:@/\[\]]+)(?::\d*)?")


def name_of(host: str) -> str:
    """The name or address in a `Host` header, in small letters, without port, brackets or a dot at its end; or ""."""
    match = _HOST.fullmatch(host.strip())
    return match[1].strip("[]").removesuffix(".").lower() if match else ""


def middleware(hosts: frozenset[str] | None) -> Any:
    """A middleware that refuses requests for a name that is neither in `hosts` nor a loopback one; None allows any.

    A request without `Host` (HTTP/1.0) is from no browser, and passes.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host")
        if hosts is None or host is None or (name := name_of(host)) in hosts or is_loopback(name):
            return await handler(request)
        hint = "The hub's operator can add the name to HUB_ALLOWED_HOSTS (--allowed-hosts)."
        # 421 says that this server does not answer for that name (RFC 9110 §15.5.20).
        return reply(Error("misdirected_request", f"This hub is not {host!r}.", hint), 421)

    return check
