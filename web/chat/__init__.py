"""The Python of the chat page; it runs in the browser, under PyScript.

Owns what the page does: it shows the notes of one topic as they come, and sends what the reader writes. It never
repeats a rule of the hub, whose own protocol and client (`hub.protocol`, `hub.client`) run beside it.
"""
