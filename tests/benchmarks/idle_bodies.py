"""Steps whose bodies do no work."""

from __future__ import annotations

from tasks.core.step import Stats, step
from tasks.core.workdir import Workdir


@step()
def nothing(conf: None, work: Workdir) -> Stats:
    """No work."""
    return {}


@step(libraries=("numpy", "pyarrow"))
def tables(conf: None, work: Workdir) -> Stats:
    """Loads what the data steps load, and does nothing with it."""
    import pandas
    import pyarrow.parquet

    return {"loaded": [pandas.__name__, pyarrow.parquet.__name__]}
