"""What the reader is told of the connection."""

from chat.status import STATES, ConnectionStatus
from hub.client.events import ClientEvent, Interrupted
from hub.protocol import BAD_REQUEST, GOING_AWAY, CaughtUp, Error, Status

BROKEN = Interrupted(1006, "", 0.5)


def told(*events: ClientEvent, live: bool = False, online: bool = True) -> str:
    """What the reader is told after these events."""
    status = ConnectionStatus()
    for event in events:
        status.take(event)
    return status.words(status.state(live, online))


def test_each_state_has_its_sentence() -> None:
    """A hub out of reach, a hub without its database, a refusal and a planned restart are told apart."""
    found = [
        told(),
        told(BROKEN),
        told(BROKEN, online=False),
        told(Interrupted(GOING_AWAY, "", 0.5)),
        told(CaughtUp(1), Status(False), live=True),
        told(Interrupted(BAD_REQUEST, "", None)),
        told(CaughtUp(1), live=True),
    ]
    assert len(set(found)) == len(found) == len(STATES)
    assert "hub can’t be reached" in found[1] and "offline" in found[2] and "database" in found[4]


def test_a_state_goes_when_it_is_over() -> None:
    """The next connection ends what was said of the last one, and so does the database when it is back."""
    assert told(BROKEN, CaughtUp(1), live=True) == STATES["live"]
    assert told(CaughtUp(1), Status(False), Status(True), live=True) == STATES["live"]
    assert told(CaughtUp(1), Status(False), BROKEN) == STATES["unreachable"]
    assert told(Status(False), BROKEN, CaughtUp(1), live=True) == STATES["live"]


def test_the_database_is_away_when_the_page_connects() -> None:
    """A hub that has no database says so before its welcome; what follows the welcome is live."""
    assert told(Status(False)) == told(BROKEN, Status(False)) == STATES["late"]
    assert told(Status(False), CaughtUp(1), live=True) == STATES["live"]


def test_the_database_is_still_away_after_a_catch_up() -> None:
    """A later catch-up comes out of the hub's memory: it does not say that the database is back."""
    assert told(CaughtUp(1), Status(False), CaughtUp(2), live=True) == STATES["late"]


def test_a_page_that_is_not_live_does_not_say_so() -> None:
    """The database's return is not yet the end of the catch-up."""
    assert told(BROKEN, Status(True)) == STATES["starting"]


def test_a_refusal_says_why() -> None:
    """The hub's last words are shown, and nothing that it said long before."""
    why = Error("invalid_topic", "No such topic", "Choose another one.")
    refused = Interrupted(BAD_REQUEST, why.code, None)
    assert (
        told(why, refused)
        == "The hub has refused this page. No such topic. Choose another one. Reload it to try again."
    )
    assert told(why, CaughtUp(1), refused) == "The hub has refused this page. Reload it to try again."
