"""The edge to Kubernetes: one thin client, plain dicts, errors that are the steps' own."""
