"""The verbs of daily life on a finished home, and a run in a real terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

from tests.pipeline_process import House

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:[349][0-7]|[34]8)[;m]")
STAGES = ["collect", "validate", "clean", "tokenize", "pretrain", "finetune", "evaluate", "register"]


def in_a_terminal(house: House, *words: str, columns: int, **env: str) -> tuple[int, str]:
    """A command in a pseudo-terminal: its exit code and everything that it wrote there."""
    parent, child = pty.openpty()
    size = {"COLUMNS": str(columns), "LINES": "40", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "flows.cli.main", *words]
    process = subprocess.Popen(
        command, cwd=house.tree, env=house.env(**size, **env), stdin=child, stdout=child, stderr=child, close_fds=True
    )
    os.close(child)
    written = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # Linux says EIO where others say end of file
            break
        if not piece:
            break
        written += piece
    os.close(parent)
    return process.wait(600), written.decode(errors="replace")


def test_runs_logs_diff_and_compare_tell_what_happened(whole: House) -> None:
    (run,) = whole.start("runs", "--json").wait().json["runs"]
    assert (run["state"], run["recipe"], run["cached"]) == ("completed", "tiny", 0)
    assert run["metric"]["name"] == "bits_per_byte"
    assert re.search(rf"^{run['id']}  \S+ .* completed ", whole.say("runs").out, re.M)
    assert re.search(r"^pretrain: step \d+/60 ", whole.say("logs", "last").out, re.M)
    alone = whole.say("logs", run["id"][:5], "pretrain", "--follow").out
    assert re.search(r"^step 60/60 ", alone, re.M) and "pretrain:" not in alone
    assert "no log of 'pretran'" in whole.say("logs", "last", "pretran", code=2).err
    assert "is not under way: completed" in whole.say("cancel", "last", code=2).err
    found = whole.start("diff", "last", run["run"], "--json").wait().json
    assert (found["config"], found["code"], found["metrics"]) == ([], [], [])
    same = whole.start("compare", "tiny-base", "1", "champion", "--json").wait().json
    assert [row["gain"] for row in same["metrics"]] == [0.0]


def test_whatever_a_run_dropped_is_counted_by_reason_and_can_be_read(whole: House) -> None:
    reasons = whole.start("rejects", "last", "--json").wait().json["reasons"]
    shown = whole.say("rejects", "last").out
    assert "near_duplicate" in {one["reason"] for one in reasons}
    for one in reasons:
        assert re.search(rf"^{one['stage']} +{one['reason']} +{one['documents']:,}$", shown, re.M), one
        found = whole.start("rejects", "last", "--reason", one["reason"], "-n", "1000", "--json").wait().json["rows"]
        assert len(found) == (0 if one["reason"] == "repeated" else one["documents"]), one
        assert {row["reason"] for row in found} <= {one["reason"]}
    assert "its reasons are: " in whole.say("rejects", "last", "--reason", "boredom", code=2).err


def test_a_chat_takes_a_turn_for_each_line_that_is_piped_in(whole: House) -> None:
    command = [sys.executable, "-m", "flows.cli.main", "chat", "tiny-chat@champion", "-n", "4", "-t", "0"]
    ran = subprocess.run(
        command, input="Hello!\n/reset\nHello!\n/quit\nnever asked\n", cwd=whole.tree, env=whole.env(),
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    answers = ran.stdout.rstrip("\n")
    assert answers[: len(answers) // 2].strip() == answers[len(answers) // 2 :].strip() != ""
    assert "forgotten" in ran.stderr
    assert "holds no conversation" in whole.say("chat", "tiny-base@champion", code=2).err


def test_a_terminal_shows_one_line_for_each_stage_and_no_colour_where_none_is_wanted(house: House) -> None:
    code, written = in_a_terminal(house, "run", str(house.recipe), columns=80, NO_COLOR="1")
    assert code == 0, written
    assert COLOUR.search(written) is None
    lines = [line.rstrip() for line in ESCAPE.sub("", written).replace("\r", "\n").splitlines()]
    board = [line for line in lines if re.match(r"= (\w+) +█{16}", line)]
    assert [line.split()[1] for line in board[-len(STAGES) :]] == STAGES
    assert all("all cached" in line and len(line) <= 80 for line in board)
    assert any(line.startswith("completed in") for line in lines)
