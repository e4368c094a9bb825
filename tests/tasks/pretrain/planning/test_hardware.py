from __future__ import annotations

import pytest

from tasks.pretrain.planning.hardware import Gpu, free_memory_gb, host_memory_gb, peak_flops, read_gpu


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA H100 NVL", 835), ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362), ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA A10", 125), ("NVIDIA A10G", None), ("cpu", None),
    ],
)  # fmt: skip
def test_a_device_is_known_by_a_part_of_its_name(name: str, tflops: float | None) -> None:
    assert peak_flops(name) == (None if tflops is None else 1e12 * tflops)


def test_the_first_gpu_is_read_from_the_drivers_table() -> None:
    found = read_gpu("NVIDIA H100 80GB HBM3, 81559\nNVIDIA H100 80GB HBM3, 81559\n")
    assert found == Gpu("NVIDIA H100 80GB HBM3", pytest.approx(85.52, abs=0.01))
    assert read_gpu("") is None and read_gpu("NVIDIA H100, [N/A]") is None


def test_what_is_free_is_less_than_what_is_there() -> None:
    assert 0 < free_memory_gb() < host_memory_gb()
