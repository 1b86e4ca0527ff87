"""The feed: events in order, to everyone who follows their topic.

Owns the ring of recent events, the broadcaster, the cursor of each client and its way from any cursor to live, the
shared reads of the log, and the writer that gathers notes. What it needs of a log stands in `ports`: it knows neither
sockets nor Postgres, nor what an event is about.
"""
