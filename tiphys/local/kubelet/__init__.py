"""Kubelet: runs the pods of all nodes of the local platform as processes."""
