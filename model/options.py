"""What decides how fast an answer is, and how exact; read without torch, by programs that only pass it on."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from .errors import InputError

Folding = Literal["auto", "on", "off"]
Precision = Literal["float32", "tf32", "bfloat16", "float16"]
Pooling = Literal["mean", "max"]


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
    window: int | None = field(
        default=None, metadata={"help": "Read longer texts in windows of so many tokens; when absent they are cut."}
    )
    stride: int | None = field(
        default=None, metadata={"help": "Tokens from one window to the next; half of a window when absent."}
    )
    window_pooling: Pooling = field(
        default="mean", metadata={"help": "Whether the scores of a text are the mean or the max over its windows."}
    )

    def __post_init__(self) -> None:
        for name, kind in (("folding", Folding), ("precision", Precision), ("window_pooling", Pooling)):
            if getattr(self, name) not in get_args(kind):
                raise InputError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        if not self.folding_budget_mb >= 0:
            raise InputError(f"folding_budget_mb must be at least 0, got {self.folding_budget_mb}")
        if self.stride is not None and self.window is None:
            raise InputError(f"stride goes with window, got {self.stride} without")
