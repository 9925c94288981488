"""Steps on MySQL clusters, and what they share: connections, the group's topology, waiting for it."""
