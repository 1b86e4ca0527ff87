"""HTTP below the addresses: what the library would answer by itself, and how.

Owns the answers to what is no proper HTTP and to what no handler has caught, so that they have the form of every other
error, and the log one line for each. It also keeps the library's name and versions out of all answers.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

import structlog
from aiohttp import web
from aiohttp.http import WebSocketReader
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, InvalidURLError, LineTooLong

from hub.protocol import Error
from hub.server.replies import of_http, reply
from hub.server.socket import MaskCheck

log = structlog.get_logger()

NAME: Final = "notes-hub"
MAX_FIELD: Final = 8190  # bytes of a header
MAX_LINE: Final = 8192  # bytes of an address; not the same, so that the parser's error tells which it was
LINGER: Final = 1.0  # seconds that a client has to read why it was refused
POLL: Final = 0.02  # seconds between looks at whether it has hung up
MOST_REASON: Final = 200  # characters of the parser's reason
LONG_ADDRESS: Final = "Shorten it; a WebSocket that follows many topics can subscribe to the rest after the welcome."


async def name(_: web.Request, response: web.StreamResponse) -> None:
    """A signal handler: the hub's name stands in place of the library's, with its versions."""
    response.headers["Server"] = NAME


class Runner(web.AppRunner):
    """A runner whose connections are those below."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            access_log=None,
            max_line_size=MAX_LINE,
            max_field_size=MAX_FIELD,
        )


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ("_malformed",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._malformed = False

    def set_parser(self, parser: WebSocketReader, data_received_cb: Callable[[], None] | None = None) -> None:
        """From now on this is a WebSocket, whose frames this reader reads."""
        super().set_parser(cast(WebSocketReader, MaskCheck(parser)), data_received_cb)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what the parser refuses, and to what no handler has caught. Raises ConnectionError."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client is gone
        if isinstance(exc, HttpProcessingError):
            self._malformed = True
            status, error = _refusal(exc)
            log.info("malformed_request", client=request.remote, status=status, reason=error.message)
        else:
            log.error("request_failed", method=request.method, path=request.path, exc_info=exc)
            error = Error("internal_server_error", "The hub failed at this.", "Its log says why; tell its operator.")
        if request.writer.output_size > 0:
            raise ConnectionError("a part of another answer is sent already")
        response = reply(error, status, Connection="close", Server=NAME)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """Log what happens outside of a handler. That a body cannot be decoded, its client has been told."""
        if not isinstance(error := kwargs.get("exc_info"), web.RequestPayloadError | HttpProcessingError):
            log.error("request_failed", reason=str(args[0]), exc_info=error)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response. One that the library has raised by itself gets the form of all errors."""
        if isinstance(resp, web.HTTPException) and isinstance(request, web.Request) and resp.status >= 400:
            resp = of_http(request, resp)
        if self._malformed:
            self.close()  # nothing is parsed any more
        finished = await super().finish_response(request, resp, start_time)
        if self._malformed:
            await self._linger()
        return finished

    async def _linger(self) -> None:
        """Read on, without looking at it, until the client hangs up, for LINGER seconds at most.

        A connection that is closed with data unread is reset, and the client would lose the answer (RFC 9112 §9.6).
        """
        if self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()
        until = self._loop.time() + LINGER
        while self.transport is not None and self._loop.time() < until:
            await asyncio.sleep(POLL)


def _refusal(exc: HttpProcessingError) -> tuple[int, Error]:
    """The status and the error for what the parser has refused."""
    if isinstance(exc, LineTooLong):
        if exc.args[1] == MAX_LINE:
            return 414, Error("uri_too_long", f"The address has more than {MAX_LINE} bytes.", LONG_ADDRESS)
        message = f"A header has more than {MAX_FIELD} bytes."
        return 431, Error("request_header_fields_too_large", message, "Send fewer or shorter cookies and headers.")
    hint = "Send a request as of HTTP/1.1 (RFC 9112)."
    if isinstance(exc, InvalidURLError):
        hint = "Percent-encode what is not ASCII in the address, as UTF-8: /notes?topic=gr%C3%BCn"
    elif isinstance(exc, BadHttpMethod):
        hint += " The hub has no TLS of its own: its address begins with http:// or ws://."
    reason = " ".join(exc.message.split())[:MOST_REASON].encode("ascii", "backslashreplace").decode()
    return 400, Error("bad_request", f"That is no valid HTTP: {reason}", hint)
