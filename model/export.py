"""`python -m model.export`: a checkpoint's network as ONNX, for runtimes without torch."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from .checkpoint import read_config, read_network
from .cli import ArgumentParser
from .command import run
from .errors import InputError
from .network_textcnn import TextCnn

OPSET = 20


@dataclass
class ExportArguments:
    """What is exported, and where to."""

    checkpoint: str = field(metadata={"help": "Folder that textcnn-train wrote."})
    output: str = field(metadata={"help": "ONNX file to write."})


class _Exported(nn.Module):
    """The network for texts that are padded on any side, but cut already: by their tokenizer."""

    def __init__(self, network: TextCnn) -> None:
        super().__init__()
        self._network = network
        self._widest = max(map(network.config.window, network.config.kernel_sizes))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B, C) of ids (B, T): `TextCnn.forward` without its sorting, which ONNX does not know as stable."""
        behind = input_ids.shape[1]  # where padding goes to
        front = attention_mask.cumsum(dim=1) - 1  # (B, T), where each token goes to
        moved = functional.pad(torch.zeros_like(input_ids), (0, self._widest))  # (B, T + widest): room for a window
        moved = moved.scatter(1, torch.where(attention_mask > 0, front, behind), input_ids)
        return self._network.logits(moved, attention_mask.sum(dim=1))


def export(checkpoint: Path, target: Path) -> None:
    """Write `input_ids` (B, T) and `attention_mask` (B, T), both int64, to calibrated `logits` (B, C), B and T free.

    Longer texts than `max_length` are not cut: that is left to the tokenizer.
    Raises `InputError` for a defect of the checkpoint, a target that cannot be written, or where onnxscript is missing.
    """
    try:
        import onnxscript  # noqa: F401  # what torch's exporter writes with
    except ImportError as error:
        raise InputError("onnx is not installed; pip install 'textcnn-service[onnx]'") from error
    network = read_network(checkpoint, read_config(checkpoint))
    example = torch.ones(2, 7, dtype=torch.long)  # each input needs its own: one given twice would be taken for one
    sizes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    try:
        torch.onnx.export(
            _Exported(network).eval(),
            (example, example.clone()),
            str(target),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    except OSError as error:
        raise InputError(f"output {str(target)!r} cannot be written ({error.strerror})") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the export; returns its exit status."""

    def command() -> None:
        parser = ArgumentParser([ExportArguments], prog="python -m model.export", description="Write ONNX.")
        (arguments,) = parser.parse(argv)
        export(Path(arguments.checkpoint), Path(arguments.output))

    return run(command)


if __name__ == "__main__":
    sys.exit(main())
