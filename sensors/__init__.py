"""The Argo Sensors of the pack, one per file: which events start which runbook, and with what values.

Each module with a function `build()` returns the manifest of one object (a plain dictionary, for the reason told
in :mod:`eventsources`); the file's name is the object's name.
"""
