"""What a client's commands do.

Owns the commands of one connection and their replies; how they come and how replies go is the session's.
What happens to notes is the writer's, the broadcaster's and the subscription's business.
"""

from collections.abc import Callable

import msgspec

from hub.errors import CommandError
from hub.feed.subscription import Subscription
from hub.postgres.store import Draft, Placed
from hub.protocol import ALL, Ack, Command, Error, History, Message, Page, Ping, Pong, Publish, Subscribe, Unsubscribe
from hub.server.context import Hub
from hub.server.stream_query import too_many_topics


class Commands:
    """A client's commands. `home` is the topic of a note that names none; `flush` writes the replies so far."""

    def __init__(
        self,
        hub: Hub,
        subscription: Subscription,
        home: str,
        reply: Callable[[Message], None],
        flush: Callable[[], None],
    ) -> None:
        self.in_flight = 0  # notes that wait for their acks
        self._hub = hub
        self._subscription = subscription
        self._home = home
        self._reply = reply
        self._flush = flush

    async def carry_out(self, command: Command) -> None:
        """Do it, and reply now or, to a publish, once it is committed."""
        try:
            match command:
                case Publish():
                    self._publish(command)
                case Subscribe():
                    self._subscribe(command)
                case Unsubscribe():
                    self._unsubscribe(command)
                case History():
                    await self._history(command)
                case Ping():
                    self._reply(Pong(command.id))
        except CommandError as error:
            self._reply(msgspec.structs.replace(error.error, id=command.id))

    def _publish(self, command: Publish) -> None:
        id = command.id

        def answer(result: Placed | Error) -> None:
            self.in_flight -= 1
            if isinstance(result, Error):
                self._reply(msgspec.structs.replace(result, id=id))
            else:
                self._reply(Ack(id, result.seq, result.rowid))

        self.in_flight += 1
        topic = command.topic or self._home
        self._hub.writer.submit(Draft(topic, command.username, command.body, key=command.key), answer)

    def _subscribe(self, command: Subscribe) -> None:
        topic, current = command.topic, self._subscription.topics
        if ALL in current and topic != ALL:
            hint = "Unsubscribe from `*` first, or leave it at that."
            raise CommandError(Error("already_subscribed", "`*` covers every topic.", hint))
        if topic not in current and topic != ALL and len(current) >= self._hub.settings.max_topics:
            raise CommandError(too_many_topics(self._hub.settings.max_topics))
        seq = self._hub.broadcaster.head if command.after is None else command.after
        self._reply(Ack(command.id, seq))
        self._flush()
        self._subscription.add(topic, command.after)

    def _unsubscribe(self, command: Unsubscribe) -> None:
        current = self._subscription.topics
        if command.topic not in current or (ALL in current and command.topic != ALL):
            hint = f"You follow: {ALL if ALL in current else ', '.join(sorted(current)) or 'nothing'}."
            raise CommandError(Error("not_subscribed", f"You do not follow {command.topic!r}.", hint))
        self._subscription.remove(command.topic)
        self._reply(Ack(command.id, self._hub.broadcaster.head))

    async def _history(self, command: History) -> None:
        topics = None if command.topic == ALL else [command.topic]
        notes, seq = await self._hub.store.notes(topics, command.limit, command.before)
        self._reply(Page(notes, seq, command.id))
