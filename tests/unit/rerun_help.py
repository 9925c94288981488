"""A test's second try begins as its first one did: with processes and objects of its own, not with what that left."""

from __future__ import annotations

import sys
import traceback

import pytest
from pytest_rerunfailures import suspended_finalizers


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """End what the tests of a module share before one of them is tried again; its fixtures are then made anew.

    The plugin that tries again keeps them: of a shared API server the second try would be told that the objects of the
    first one exist already, and so fail whatever the first one failed for.
    """
    module = item.getparent(pytest.Module)
    if getattr(item, "execution_count", 1) < 2 or module is None:
        return
    state = item.session._setupstate
    state.stack = {**suspended_finalizers, **state.stack}
    suspended_finalizers.clear()
    try:
        state.teardown_exact(module.parent)  # type: ignore[arg-type]
    except (Exception, pytest.fail.Exception):
        # All finalizers have run by then. What the first try broke is no fault of the second.
        traceback.print_exc(file=sys.stderr)
