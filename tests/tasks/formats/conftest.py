"""Documents to be written and read."""

from tests.tasks.clean.conftest import documents

__all__ = ["documents"]
