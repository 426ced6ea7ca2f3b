"""Devices and what is measured of them; on a GPU the timer is held against a kernel of known length."""

import time

import pytest
import torch

from model.device import DeviceTimer, resolve_device
from model.errors import InputError

CYCLES = 20_000_000  # some 10 ms


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:", "cuda:99", "CPU", ""])
def test_devices_that_do_not_exist(device: str) -> None:
    with pytest.raises(InputError, match="device"):
        resolve_device(device)


def test_auto_takes_a_gpu_if_there_is_one() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_measurements_on_the_host_may_overlap() -> None:
    timer = DeviceTimer(torch.device("cpu"))
    outer = timer.start()
    inner = timer.start()
    inner.stop()
    begin = time.perf_counter()
    while time.perf_counter() - begin < 0.002:
        pass
    outer.stop()
    assert timer.clock == "perf_counter"
    assert outer.elapsed_ms() >= inner.elapsed_ms() + 2
    assert inner.elapsed_ms() > 0


@pytest.mark.gpu
def test_events_know_the_length_of_a_kernel_that_the_queueing_host_does_not() -> None:
    timer = DeviceTimer(torch.device("cuda"))
    torch.cuda._sleep(CYCLES)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    measurement = timer.start()
    torch.cuda._sleep(CYCLES)
    measurement.stop()
    queued_ms = (time.perf_counter() - begin) * 1e3
    torch.cuda.synchronize()
    true_ms = (time.perf_counter() - begin) * 1e3
    assert measurement.elapsed_ms() == pytest.approx(true_ms, rel=0.05)
    assert queued_ms < true_ms / 2


@pytest.mark.gpu
def test_overlapping_batches_keep_their_own_times_and_share_a_pool_of_events() -> None:
    timer = DeviceTimer(torch.device("cuda"))
    torch.cuda._sleep(CYCLES)
    for _ in range(3):
        torch.cuda.synchronize()
        short = timer.start()
        torch.cuda._sleep(CYCLES // 10)
        short.stop()
        long = timer.start()
        torch.cuda._sleep(CYCLES)
        long.stop()
        assert long.elapsed_ms() == pytest.approx(10 * short.elapsed_ms(), rel=0.2)  # others may use the device too
        assert len(timer._free) == 2
