"""The room postgres."""
