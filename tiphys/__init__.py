"""Tiphys: MySQL runbooks for Argo, and the tool that runs them on one machine or on a cluster."""
