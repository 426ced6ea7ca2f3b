"""Where products in bfloat16 are fast, and what they are in."""

import torch

from training.config_training import TextCnnTrainingArguments

_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")  # of a CPU


def half_precision(device: torch.device) -> bool:
    """Whether the device multiplies in bfloat16 by hardware, which is about twice as fast as in float32 or more."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in _INSTRUCTIONS)


def products_in(args: TextCnnTrainingArguments) -> str:
    """The type of the numbers that a training step multiplies: float32, or a half one by flag or where it is fast."""
    if args.fp16:
        return "float16"
    is_chosen = args.device.type == "cpu" and not args.torch_compile  # else the filters are convolutions
    half = is_chosen and half_precision(args.device) if args.bf16 is None else args.bf16
    return "bfloat16" if half else "float32"
