"""GPUs are slots, on this machine and across its runs: nobody shares one by accident, and none is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tasks.core import devices, interpreter
from tasks.core.engine.device_slots import FOLDER, DeviceSlots, pretended
from tasks.core.errors import HostError, Transient
from tasks.core.step import Resources
from tasks.core.store.lease import stopping
from tests.toy_process import eventually

ONE = Resources(gpu=1)
TWO = Resources(gpu=2, gpu_must=True)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path / "devices"))
    return tmp_path / "devices"


def said(text: str) -> None:
    raise AssertionError(text)


def test_bodies_get_devices_by_index_and_none_that_another_has() -> None:
    slots = DeviceSlots(2)
    with slots.take("a", ONE, said) as first, DeviceSlots(2).take("b", ONE, said) as second:
        assert first.environ["CUDA_VISIBLE_DEVICES"] == "0" and second.environ["CUDA_VISIBLE_DEVICES"] == "1"
        assert first.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"  # else programs count in another order
        with slots.take("c", Resources(), said) as none:
            assert none.environ["CUDA_VISIBLE_DEVICES"] == "" and none.fds == ()
    with slots.take("d", TWO, said) as both:
        assert both.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_a_body_waits_until_enough_are_free_and_says_so_once() -> None:
    slots, lines, got = DeviceSlots(2), list[str](), threading.Event()

    def take_both() -> None:
        with slots.take("b", TWO, lines.append):
            got.set()

    with slots.take("a", ONE, said):
        thread = threading.Thread(target=take_both)
        thread.start()
        assert eventually(lambda: bool(lines)) and not got.wait(1.0)
        with slots.take("c", ONE, said) as other:  # who waits for two does not sit on one
            assert other.environ["CUDA_VISIBLE_DEVICES"] == "1"
    thread.join(30)
    assert got.is_set() and lines == ["waits for 2 of 2 GPUs: other steps or runs have them"]


def test_those_that_share_on_purpose_do_and_nobody_else_comes_between() -> None:
    slots, shared = DeviceSlots(1), Resources(gpu=1, share_gpu=True)
    lines: list[str] = []
    with slots.take("a", shared, said) as one, slots.take("b", shared, said) as two:
        assert one.environ == two.environ
        stopping.set()  # who waits gives up at once
        try:
            with pytest.raises(Transient), slots.take("c", ONE, lines.append):
                pass
        finally:
            stopping.clear()
    assert len(lines) == 1


def test_what_this_machine_does_not_have_is_refused_and_what_can_do_without_does() -> None:
    with pytest.raises(HostError, match=r"train asks for 2 GPUs, and this machine shows 1: ask for fewer"):
        DeviceSlots(1).check("train", TWO)
    with pytest.raises(HostError, match="asks for 1 GPU with 80 GB, and this machine shows 0"):
        DeviceSlots(2).check("train", Resources(gpu=1, gpu_memory_gb=80, gpu_must=True))
    with DeviceSlots(1).take("evaluate", Resources(gpu=2), said) as taken:
        assert len(taken.gpus) == 1
    if not devices.gpus():
        with DeviceSlots().take("evaluate", ONE, said) as taken:
            assert taken.environ == {}  # a machine without GPUs: nothing is hidden, nothing is waited for


def test_a_slot_comes_back_when_its_holder_is_killed_but_not_before_its_body_has_gone(tmp_path: Path) -> None:
    code = f"""
import subprocess, sys, time
from tasks.core.engine.device_slots import DeviceSlots
from tasks.core.step import Resources
with DeviceSlots(1).take("a", Resources(gpu=1), print) as taken:
    body = subprocess.Popen(["sleep", "60"], pass_fds=taken.fds)
    open({str(tmp_path / "body")!r}, "w").write(str(body.pid))
    time.sleep(60)
"""
    run = subprocess.Popen(interpreter.command("-c", code), env=interpreter.environment())
    assert eventually(lambda: (tmp_path / "body").exists() and (tmp_path / "body").read_text() != "")
    run.send_signal(signal.SIGKILL)
    run.wait()
    lines, got = list[str](), threading.Event()

    def take() -> None:
        with DeviceSlots(1).take("b", ONE, lines.append):
            got.set()

    thread = threading.Thread(target=take)
    thread.start()
    assert eventually(lambda: bool(lines)) and not got.is_set()
    os.kill(int((tmp_path / "body").read_text()), signal.SIGKILL)
    thread.join(30)
    assert got.is_set()


def test_the_table_of_the_driver_is_read_and_narrowed_to_what_is_visible() -> None:
    rows = (
        "0, GPU-aa, NVIDIA H100 80GB HBM3, 81559, 9.0\n1, GPU-bb, NVIDIA T4, 15360, 7.5\n2, GPU-cc, odd, [N/A], [N/A]\n"
    )
    found = devices.read(rows)
    assert [(gpu.number, gpu.uuid, gpu.capability) for gpu in found] == [(0, "GPU-aa", 9.0), (1, "GPU-bb", 7.5)]
    assert found[0].memory_gb == pytest.approx(85.52, abs=0.01) and devices.read("") == ()
    assert devices.read("nvidia-smi has failed, because") == ()
    for chosen, expected in ((None, [0, 1]), ("1", [1]), ("1,0", [1, 0]), ("GPU-bb", [1]), ("", []), ("7", [])):
        assert [gpu.number for gpu in devices.visible(found, chosen)] == expected
    assert [gpu.number for gpu in pretended(2)] == [0, 1]


def test_options_ask_for_a_gpu_unless_they_name_the_processor() -> None:
    from conf.schema.pretrain_run import PretrainRun

    def asked(**options: object) -> Resources:
        return Resources(cpu=2).asked(PretrainRun.model_validate(options))

    assert (asked().gpu, asked().gpu_must) == (1, False)
    assert asked(device="cpu").gpu == 0 and asked(device="cuda", processes=4) == Resources(cpu=2, gpu=4, gpu_must=True)
    given = asked(resources={"cpu": 8, "memory_gb": 64, "gpu": 2, "gpu_memory_gb": 40, "share_gpu": True})
    assert given == Resources(8, 64, 2, 40, True, True)
    assert asked(resources={"gpu": 0}).gpu == 0 and not asked(resources={"gpu": 0}).gpu_must


def test_the_clock_of_a_step_is_the_options_too() -> None:
    from conf.compose import compose
    from tasks.pretrain.steps import pretrain

    recipe = compose("demo", ["pretrain.run.resources.hours=0.5"])
    (segment,) = recipe.pretrain.chain(recipe.model)
    assert pretrain.of(segment).timeout == 1800 and pretrain.of(segment).of(segment) == pretrain.of(segment)
