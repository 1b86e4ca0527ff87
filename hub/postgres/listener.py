"""Hears every event of the log, in order and once.

Owns the one connection that listens, and the rule that closes gaps. It listens first, then reads the log after the
cursor, then takes notifications: it drops those up to the cursor, publishes one whose `prev` is the cursor, and for any
other reads the log. It reconnects for ever. It implements the feed's EventSource; it knows no client.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable

import asyncpg
import msgspec
import structlog

from hub.backoff import backoff
from hub.errors import DatabaseError, NotListening, Refused, Unavailable
from hub.feed.broadcaster import Broadcaster
from hub.postgres.address import address
from hub.postgres.notifications import CHANNEL, Notification, decode
from hub.postgres.pool import CONNECTION_ERRORS, DIRECTLY, MIX_UP, MIXED_UP, connect
from hub.postgres.store import Store
from hub.protocol import Status

log = structlog.get_logger()

PAGE = 1000  # events read from the log in one query
MAX_PENDING = 20_000  # notifications kept while the log is read; if more come, the log is read again
CONNECT_TIMEOUT = 3.0  # seconds for a connection to be made, and for LISTEN
LAST_LOOKS = 5  # turns of the event loop in which a late answer still counts
CHECK_TIMEOUT = 1.0  # seconds for the listening connection to answer
LONGEST_DELAY = 1.0  # seconds between attempts: short, since all clients of this hub wait for it
PROOF_TIMEOUT = 3.0  # seconds for a notification to ourselves to come back


async def prove(connection: asyncpg.Connection, store: Store) -> None:
    """Check that a notification of our own comes back: some poolers deliver none. Raises NotListening."""
    channel = f"hub_proof_{connection.get_server_pid()}"
    heard = asyncio.Event()

    def hear(*_: object) -> None:
        heard.set()

    await connection.add_listener(channel, hear)
    try:
        # From another connection: a pooler may run our own NOTIFY on the connection that ran our LISTEN.
        await store.notify(channel, PROOF_TIMEOUT)
        async with asyncio.timeout(PROOF_TIMEOUT):
            await heard.wait()
    except Unavailable as error:
        if isinstance(error.__cause__, MIXED_UP):
            raise NotListening(MIX_UP) from error
        raise
    except TimeoutError:
        # A dead connection is not the fault of a pooler; then another one will do.
        await _answers(connection, store)
        raise NotListening(
            "LISTEN succeeds on this database URL but delivers nothing, as behind a pooler in transaction mode. "
            + DIRECTLY
        ) from None
    await connection.remove_listener(channel, hear)


async def _answers(connection: asyncpg.Connection, store: Store) -> int:
    """The newest seq drawn. Raises TimeoutError after CHECK_TIMEOUT, and then gives up the pool's connections too."""
    query = asyncio.ensure_future(connection.fetchval("select last_value from note_seq"))
    try:
        await asyncio.wait((query,), timeout=CHECK_TIMEOUT)
        # A busy event loop may not have looked yet at an answer that came in time: that says nothing of the database.
        for _ in range(LAST_LOOKS):
            await asyncio.sleep(0)
        if query.done():
            return int(query.result())
        store.abandon()  # else what waits on its connection would go on waiting
        raise TimeoutError("the database does not answer")
    finally:
        query.cancel()


class Listener:
    """The listening connection and the position it has reached (`broadcaster.head`).

    `store` is for its own reads alone: they must not wait for what clients ask. `abandon` is called when the database
    has stopped to answer: other connections of the hub are likely to be dead as well, and what waits on them should
    fail now.
    """

    def __init__(
        self, url: str, store: Store, broadcaster: Broadcaster, check_interval: float, abandon: Callable[[], None]
    ) -> None:
        self.ready = asyncio.Event()  # set while it listens and has read all that went before
        self.gaps = self.reconnects = 0
        self._url = url
        self._store = store
        self._broadcaster = broadcaster
        self._check_interval = check_interval
        self._abandon = abandon
        self._started = False
        self._pending: deque[Notification] = deque()
        self._missed = False  # something was heard that is not in _pending
        self._wake = asyncio.Event()
        self._lost = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled. Raises NotListening, but only for the first connection."""
        delays = backoff(longest=LONGEST_DELAY)
        while True:
            try:
                async with self._connection() as connection:
                    try:
                        await self._hear(connection)
                    except TimeoutError:
                        self._abandon()
                        raise
            # Even what Postgres refuses may be mended: a table may be missing for a moment, while it is restored.
            except (*CONNECTION_ERRORS, asyncpg.PostgresError, Unavailable, Refused, DatabaseError) as error:
                if self.ready.is_set():
                    delays = backoff(longest=LONGEST_DELAY)
                    self.ready.clear()
                    self._broadcaster.tell_everyone(Status(False))
                self.reconnects += 1
                log.warning("listener_lost", database=address(self._url), reason=str(error) or type(error).__name__)
                await asyncio.sleep(next(delays))

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await connect(self._url, "notes-hub listener", CONNECT_TIMEOUT, CONNECT_TIMEOUT)
        try:
            self._lost.clear()
            connection.add_termination_listener(lambda _: self._end())
            yield connection
        finally:
            # A dying connection may not even answer its closing.
            connection.terminate()

    def _end(self) -> None:
        self._lost.set()
        self._wake.set()

    async def _hear(self, connection: asyncpg.Connection) -> None:
        self._pending.clear()
        self._missed = False
        await connection.add_listener(CHANNEL, self._on_notification)
        try:
            await prove(connection, self._store)
        except NotListening as error:
            if self._started:  # the pooler may be mended meanwhile
                raise Unavailable(str(error)) from error
            raise
        await self._begin()
        await self._read_log()
        self._publish_pending()
        self._started = True
        self.ready.set()
        log.info("listening", channel=CHANNEL, head=self._broadcaster.head)
        self._broadcaster.tell_everyone(Status(True))
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(self._check_interval):
                    await self._wake.wait()
            except TimeoutError:
                await self._check(connection)
                continue
            self._wake.clear()
            await self._close_gap()
        raise Unavailable("the server ended the connection")

    async def _begin(self) -> None:
        """Go on from the head of before; at the start, from a position that fills the ring."""
        if not self._started:
            self._broadcaster.start_at(await self._store.tail(PAGE * 5))
        elif not await self._store.holds(self._broadcaster.head):
            head = await self._store.head()
            log.warning("log_replaced", cursor=self._broadcaster.head, head=head)
            self._broadcaster.start_afresh(head, "the database was replaced by another one or an older copy")

    # asyncpg calls a plain function in the order of arrival; coroutines would become tasks, which overtake each other.
    def _on_notification(self, _connection: object, pid: int, _channel: str, payload: object) -> None:
        try:
            notification = decode(str(payload))
        except msgspec.DecodeError as error:
            # A column that we can't decode, or somebody else's NOTIFY. The log tells whether it matters.
            log.warning("notification_not_understood", reason=str(error), pid=pid)
            self._missed = True
            self._wake.set()
            return
        if self.ready.is_set() and not self._pending and self._publish(notification):
            return
        if len(self._pending) < MAX_PENDING:
            self._pending.append(notification)
        else:
            self._missed = True
        self._wake.set()

    def _publish(self, notification: Notification) -> bool:
        """Publish the next event, drop an older one; False if the log must be read."""
        if notification.seq <= self._broadcaster.head:
            return True
        if notification.prev != self._broadcaster.head or (event := notification.event()) is None:
            return False
        self._broadcaster.publish(event)
        return True

    def _publish_pending(self) -> None:
        while self._pending and self._publish(self._pending[0]):
            self._pending.popleft()

    async def _close_gap(self) -> None:
        self._publish_pending()
        while self._pending or self._missed:
            self._missed = False
            self.gaps += 1
            # What was heard before the log was read is in the log, or is no event at all.
            heard = len(self._pending)
            await self._read_log()
            for _ in range(heard):
                self._pending.popleft()
            self._publish_pending()

    async def _read_log(self) -> None:
        while True:
            events = await self._store.events(self._broadcaster.head, None, None, PAGE)
            for event in events:
                # A notification may have been published while the page was on its way.
                if event.seq > self._broadcaster.head:
                    self._broadcaster.publish(event)
            if len(events) < PAGE:
                return
            await asyncio.sleep(0)  # let the broadcaster write before more is published

    async def _check(self, connection: asyncpg.Connection) -> None:
        """Find a connection that is dead, hung, or alive but deaf. Costs one small query, and writes nothing."""
        last = await _answers(connection, self._store)
        head = self._broadcaster.head
        if last < head and not await self._store.holds(head):
            raise Unavailable("the log ends before what was heard: another database answers now")
        # A seq that was drawn and not heard is still being committed, was rolled back, or was missed.
        if last > head and (events := await self._store.events(head, None, None, 1)):
            # Postgres delivers due notifications before it answers the next query.
            await connection.fetchval("select 1", timeout=CHECK_TIMEOUT)
            await asyncio.sleep(0)
            if not self._pending and self._broadcaster.head < events[0].seq:
                raise Unavailable("the connection is alive but delivers no notifications")
