"""Close codes: why the hub ended a WebSocket, and whether to come back.

Codes below 3000 are those of RFC 6455 §7.4. The others follow Centrifugo's ranges: after 3000 to 3499 a client
reconnects, after 3500 to 3999 it does not.
"""

from typing import Final

GOING_AWAY: Final = 1001
INVALID: Final = 1007
TOO_BIG: Final = 1009
STALLED: Final = 3008
BAD_REQUEST: Final = 3501
FORBIDDEN: Final = 3507


def may_reconnect(code: int) -> bool:
    """Whether a client that was closed with this code should come back (with full jitter)."""
    return code != TOO_BIG and not 3500 <= code < 4000
