import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def logging_stays_enabled() -> Iterator[None]:
    """The next test of the same process may look at the log."""
    yield
    assert logging.root.manager.disable == logging.NOTSET
