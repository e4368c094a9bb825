"""Run and carrier, where the store between them fails for a moment: nothing is lost, nobody works beside another."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.core.engine import channel
from tasks.core.engine.channel import Channel, fence
from tasks.core.engine.remote.carrier import Told
from tasks.core.errors import Transient
from tasks.core.store.local import LocalBackend
from tasks.core.workdir import Workdir
from tests.tasks.core.engine.carried import Carried
from tests.tasks.core.engine.test_launcher import UNLIMITED, Sent


class Failing(LocalBackend):
    """A store that takes nothing while it is `away`."""

    away = False

    def put(self, name: str, data: bytes) -> None:
        if self.away:
            raise Transient("no answer")
        super().put(name, data)


def test_output_that_could_not_be_sent_is_sent_later_and_once(tmp_path: Path) -> None:
    backend = Failing(tmp_path)
    there, work = Channel(backend, "step/key", "ticket"), Workdir(tmp_path / "work")
    work.make()
    told = Told(there, work, 10.0)
    told.say("one")
    told.send()
    backend.away = True
    told.say("two")
    with pytest.raises(Transient):
        told.send()
    told.say("three")
    backend.away = False
    told.send()
    body = there.read("body")
    assert body is not None and body["pieces"] == {"output": 2}
    assert b"".join(there.piece("output", n) for n in range(2)) == b"one\ntwo\nthree\n"


def test_a_body_that_its_run_has_lost_sight_of_is_ended_before_the_next_attempt(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent(Carried(), home)
    end = sent.begin(UNLIMITED, True)

    def away(self: Channel, name: str) -> dict[str, Any] | None:
        raise Transient("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Channel, "read", away)
        assert isinstance(end(), Transient)
    assert channel.tickets(LocalBackend(home / "store"), "step/key") != [], "somebody may still be at work"
    fence(LocalBackend(home / "store"), "step/key")
    assert sent.leaves_nothing() and channel.tickets(LocalBackend(home / "store"), "step/key") == []


def test_a_carrier_that_comes_too_late_does_nothing(tmp_path: Path) -> None:
    """As one that waited for a worker while its run was killed, and the next run has come."""
    from tasks.core.engine.remote.carrier import Carrier
    from tasks.core.store.store import Store

    backend = LocalBackend(tmp_path)
    Channel(backend, "step/key", "ticket").write("job", {"entry": "nobody:asks"})
    fence(backend, "step/key")
    assert Carrier(Store(backend), "step/key", "ticket").carry().startswith("no such job")


def test_who_fences_waits_as_long_as_a_carrier_shows_that_it_lives(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    there, ended = Channel(backend, "step/key", "ticket"), threading.Event()
    there.write("body", {"beat": 1, "ended": None, "dead": 30.0})
    thread = threading.Thread(target=lambda: (fence(backend, "step/key"), ended.set()))
    thread.start()
    while not (there.read("run") or {}).get("stop"):
        time.sleep(0.02)
    assert not ended.is_set()
    there.write("body", {"beat": 2, "ended": {"code": 0}, "dead": 30.0})
    thread.join(30)
    assert ended.is_set()
