"""The steps of the runbooks: what runs inside the containers, each a typed function and a click command."""
