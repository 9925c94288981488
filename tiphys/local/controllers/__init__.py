"""Controllers: what a cluster does by itself, behind the API server (scheduling, sets, budgets, endpoints)."""
