"""What decides how fast an answer is, and how exact; read without torch, by programs that only pass it on."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from .errors import InputError

Folding = Literal["auto", "on", "off"]
Precision = Literal["float32", "tf32", "bfloat16", "float16"]


@dataclass
class InferenceOptions:
    """How the network is run; raises `InputError` for a value that there is not."""

    folding: Folding = field(
        default="auto",
        metadata={"help": "Run the network as look-ups in a table; auto: if it fits, on a GPU if it is faster too."},
    )
    folding_budget_mb: float = field(
        default=512.0, metadata={"help": "The largest table that --folding auto makes, in 10^6 bytes."}
    )
    precision: Precision = field(
        default="float32",
        metadata={"help": "float32 is exact. On a GPU tf32 is faster. bfloat16 and float16 halve the table."},
    )

    def __post_init__(self) -> None:
        for name, values in (("folding", get_args(Folding)), ("precision", get_args(Precision))):
            if getattr(self, name) not in values:
                raise InputError(f"{name} must be one of {', '.join(values)}, got {getattr(self, name)!r}")
        if not self.folding_budget_mb >= 0:
            raise InputError(f"folding_budget_mb must be at least 0, got {self.folding_budget_mb}")
