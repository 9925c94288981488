"""What all unit tests share."""

from rerun_help import pytest_runtest_setup

__all__ = ["pytest_runtest_setup"]
