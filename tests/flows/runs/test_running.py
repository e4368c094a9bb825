"""What is refused between the plan and the first step."""

from __future__ import annotations

from pathlib import Path

import pytest

from conf.compose import compose
from flows.runs import running
from tasks.core.errors import HostError
from tasks.views.terminal.live import Terminal


def test_training_on_a_gpu_that_is_not_here_is_planned_and_refused_before_the_first_step(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "a.txt").write_text("some text")
    recipe = compose("gpt2_124m", (f"data.sources.mine.paths=[{tmp_path}]",))
    (planned,) = [row for row in running.plan(recipe).rows if row.step == "pretrain"]
    assert planned.estimate["parameters"] == 124_439_808
    with pytest.raises(HostError, match=r"run\.device=cuda, and this machine shows no GPU"):
        running.announced_plan(recipe, Terminal(quiet_stdout=True), (), None)
    assert running.announced_plan(recipe, Terminal(quiet_stdout=True), (), "check_tokens").rows
