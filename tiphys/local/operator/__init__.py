"""Stand-in for Oracle's MySQL Operator: InnoDBClusters become server pods in group replication, and Routers.

It honours what can be seen of the real operator through the Kubernetes API (names, labels, annotations,
secrets, finalizers, readiness gates, statuses) and talks only to that API and, in SQL, to the servers.
"""
