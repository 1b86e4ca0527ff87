"""The chat page's Python: it runs in the browser, on the hub's own protocol and client."""
