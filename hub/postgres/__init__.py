"""Postgres: where notes and their log are kept.

Owns all SQL beside ``sql/``: the pool, reads, the connection that publishes and the one that listens, the payload of
notifications, migrations, and the check of a database. It implements the feed's ports, and knows no client.
"""
