"""The local platform's API server: the part of the Kubernetes API that the pack, kubectl and the steps use.

One process, one SQLite file as the truth, an in-memory copy for reads. Every answered write is on its way to
the disk before it is answered, so the server may be killed at any moment.

kmock was looked at first (0.8, 2026-11). It is made to record and answer requests inside a test: objects live in
memory only, resourceVersion is a constant, a watch sends the present objects and then whatever comes, and every
PATCH and PUT is one and the same merge of dicts. Eviction, selectors, conflicts, grace periods, status
subresources, garbage collection, pod logs and exec are for its users to write. The platform needs exactly those,
and needs them to outlive a crash, so this server is our own.

What differs from a real API server, on purpose: one user (whoever has the token) who may do everything; one
version per kind; no admission webhooks, quotas or priority; a `continue` token carries on by name in the newest
state rather than in a snapshot; server-side apply as `apply.py` says.
"""
