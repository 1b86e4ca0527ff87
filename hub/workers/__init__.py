"""Several processes behind one port (``notes-hub serve --workers``): a supervisor and its workers.

Owns the worker processes: how they start, are replaced and end, the sockets on which they listen, and the counts that
they give each other. Each worker is a whole hub. This package never touches a client's data, and holds no state that a
worker needs to go on.
"""
