from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.errors import HostError
from tasks.training.cluster.parent_watch import lock_trainer


def test_a_second_trainer_waits_and_is_refused_while_the_first_holds_the_lock(tmp_path: Path) -> None:
    first = lock_trainer(tmp_path / "trainer.lock")
    with pytest.raises(HostError, match="another trainer"):
        lock_trainer(tmp_path / "trainer.lock", patience=0.2)
    first.close()
    lock_trainer(tmp_path / "trainer.lock", patience=0.2).close()
