"""Service proxy: listens on cluster IPs and passes connections on to ready endpoints."""
