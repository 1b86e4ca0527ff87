"""A hub for the fault suite: the normal command line, with a protection taken out where a control asks for it.

``python -m tests.faults.hub [--without prev|states] serve …``
"""

import sys

from hub.cli import main
from hub.delivery import fanout
from hub.postgres import sqlstate
from hub.postgres.listener import Listener
from hub.postgres.notifications import Notification


def publish_whatever_is_new(self: Listener, notification: Notification) -> bool:
    """Listener._publish without its question whether `prev` is what was heard last."""
    if notification.seq <= self._broadcaster.head:
        return True
    if (event := notification.event()) is None:
        return False
    self._broadcaster.publish(event)
    return True


if __name__ == "__main__":
    fanout.WORTH_IT = 2  # what a hub does for many clients, the few that are here must see too
    if sys.argv[1] == "--without":
        if sys.argv[2] == "states":  # then a server that takes no writes seems to refuse the note itself
            sqlstate.TROUBLES.clear()
        else:
            assert sys.argv[2] == "prev", f"no such protection: {sys.argv[2]}"
            Listener._publish = publish_whatever_is_new
        del sys.argv[1:3]
    main()
