"""What to make of the pack's metrics: a Grafana dashboard, alerts and the docs page, all from one table of metrics.

The table is :mod:`workflows.metrics`. :mod:`tiphys.rendering` writes the files.
"""
