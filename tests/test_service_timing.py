"""The figures of a request are consistent, and the same in the body and in the header."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from service.schemas import LatencyBlock
from service.timing import Latency, microseconds

counts = st.integers(0, 10**10)
devices, clocks = st.sampled_from(["cpu", "cuda:1"]), st.sampled_from(["perf_counter", "cuda_events"])
latencies = st.builds(Latency, devices, clocks, *[counts] * 4, st.integers(1, 10**6), st.integers(1, 10**4))


@given(parts=st.lists(st.floats(0, 1e4), min_size=1, max_size=20), idle=st.floats(0, 10))
def test_rounded_parts_never_exceed_the_rounded_total(parts: list[float], idle: float) -> None:
    assert sum(map(microseconds, parts)) <= microseconds(sum(parts) + idle + 1e-9)


@given(latency=latencies)
def test_the_block_is_the_contract_in_milliseconds_to_the_microsecond(latency: Latency) -> None:
    block = LatencyBlock.model_validate_json(latency.json(), strict=True)
    assert block.device == latency.device
    assert block.clock == latency.clock
    assert (block.batch_size, block.passes) == (latency.batch_size, latency.passes)
    for part in ("inference", "tokenize", "queue", "total"):
        assert round(getattr(block, f"{part}_ms") * 1e3) == getattr(latency, f"{part}_us")


@given(latency=latencies)
def test_the_header_says_the_same_as_the_block(latency: Latency) -> None:
    block = json.loads(latency.json())
    header = re.findall(r"(\w+);dur=([\d.]+)", latency.server_timing().decode())
    assert {name: float(value) for name, value in header} == {
        name: block[f"{name}_ms"] for name in ("queue", "tokenize", "inference", "total")
    }
