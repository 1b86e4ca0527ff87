"""The room workers."""
