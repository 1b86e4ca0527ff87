"""The fault suite: whole hubs under everything that dies, and the proof that clients lose nothing by it.

``python -m tests.faults --help`` runs seeds and controls, ``python -m tests.faults.recovery`` measures recovery.
"""
