from __future__ import annotations

import pytest

from tasks.training.planning.hardware import free_memory_gb, host_memory_gb, peak_flops


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA H100 NVL", 835), ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362), ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA A10", 125), ("NVIDIA A10G", None), ("cpu", None),
    ],
)  # fmt: skip
def test_a_device_is_known_by_a_part_of_its_name(name: str, tflops: float | None) -> None:
    assert peak_flops(name) == (None if tflops is None else 1e12 * tflops)


def test_what_is_free_is_less_than_what_is_there() -> None:
    assert 0 < free_memory_gb() < host_memory_gb()
