"""Which CPUs are taken to multiply in bfloat16 by hardware."""

import pytest
import torch

from training.precision import half_precision


@pytest.mark.parametrize(
    ("capabilities", "is_fast"),
    [
        ({}, False),
        ({"avx2": True, "avx512_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
    ],
)
def test_a_cpu_is_asked_for_its_instructions(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], is_fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert half_precision(torch.device("cpu")) is is_fast
