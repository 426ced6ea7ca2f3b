"""Where products in bfloat16 are fast, and what they are in."""

import torch

from model.network_textcnn import TextCnnShape
from training.config_training import TextCnnTrainingArguments

_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")  # of a CPU


def half_precision(device: torch.device) -> bool:
    """Whether the device multiplies in bfloat16 by hardware, which is about twice as fast as in float32 or more."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in _INSTRUCTIONS)


def products_in(args: TextCnnTrainingArguments, config: TextCnnShape) -> str:
    """The type of the numbers that a training step multiplies: float32, or a half one by flag or where it is fast."""
    if args.fp16:
        return "float16"
    if args.bf16 is not None:
        return "bfloat16" if args.bf16 else "float32"
    changes_embeddings = config.embedding_dropout or args.neftune_noise_alpha is not None
    by_distinct_tokens = args.device.type == "cpu" and not args.torch_compile  # else there is no product of our own
    is_linear = config.groups == 1 and not changes_embeddings
    return "bfloat16" if by_distinct_tokens and is_linear and half_precision(args.device) else "float32"
