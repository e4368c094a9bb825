import threading
from pathlib import Path

import pytest

from tasks.core import waiting
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.core.waiting import announced
from tasks.register.mlflow_writer import held


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "AFTER", 0.01)
    monkeypatch.setattr(waiting, "EVERY", 0.01)


def test_a_wait_is_said_again_and_again_until_it_is_over_and_then_no_more() -> None:
    said, twice = list[str](), threading.Event()

    def hear(text: str) -> None:
        said.append(text)
        if len(said) > 1:
            twice.set()

    with announced("the tide", hear):
        assert twice.wait(30)
    count = len(said)
    assert all(text.startswith("waiting for the tide: ") for text in said)
    threading.Event().wait(0.05)
    assert len(said) == count


def test_what_is_there_at_once_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "AFTER", 60.0)
    said = list[str]()
    with announced("the tide", said.append):
        pass
    assert not said


def test_a_registry_that_another_run_writes_to_is_named_while_it_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, said, heard = Store(LocalBackend(tmp_path)), list[str](), threading.Event()
    monkeypatch.setattr(waiting, "aloud", lambda text: (said.append(text), heard.set()))
    monkeypatch.setattr("tasks.register.mlflow_writer.announced", lambda what: announced(what, waiting.aloud))
    other = store.lock("register/tea")
    threading.Thread(target=lambda: (heard.wait(30), other.release())).start()
    with held(store, "register/tea", f"sqlite:///{tmp_path}/none.db"):
        assert heard.is_set()
    assert "another run, which writes to the registry (register/tea)" in said[0]
    assert all("MLflow at sqlite:///" in text for text in said if "another run" not in text)
