"""Installing the pack into a cluster, looking at the cluster before, and taking it away again."""
