from pathlib import Path

from tasks.core.workdir import Workdir
from tasks.formats import verdicts


def test_verdicts_quarantines_and_losses_are_read_back(tmp_path: Path) -> None:
    work = Workdir(tmp_path)
    verdicts.write_verdict(work, [{"success": True}], {"rows": 3})
    assert verdicts.outcomes_in(work) == [{"success": True}] and verdicts.corpus_in(work) == {"rows": 3}
    verdicts.write_quarantine(work, "a-000", ["too short"])
    assert verdicts.failed_in(work.content / "a-000") == ["too short"]
    verdicts.write_losses(work, [{"stage": "clean"}])
    assert verdicts.losses_in(work) == [{"stage": "clean"}]
