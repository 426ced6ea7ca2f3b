"""Device time of captured passes on a GPU: dense and folded network in each precision, and without a captured graph.

python -m benchmarks.latency_gpu --data FOLDER [--checkpoints FOLDER] [--rounds 200]

Network and token ids are those of `benchmarks.latency`. `inference_ms` is what the service reports of a pass: copy to
the device, network and softmax between two events. Every pass gets fresh ids, and the candidates take turns. With
`--checkpoints` also the time from text to label with `TextClassifier`, and the service under load on GPU and CPU, one
after the other. Writes benchmarks/results/latency_gpu.json and prints a table.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.environment import describe
from benchmarks.generator import Generator, requests_for
from benchmarks.latency import BATCH_TEXTS, FORWARD, FORWARD_SET, SETS, read_texts, slices, token_stream
from benchmarks.running import ours
from model.classifier import TextClassifier
from model.device import DeviceTimer, resolve_device
from model.folding import FoldedTextCnn
from model.graphs import CapturedPass, Network, tensor_float
from model.network_textcnn import TextCnn
from model.runner import DTYPES

RESULTS = Path(__file__).parent / "results" / "latency_gpu.json"
SIZES = ((1, 32), (64, 64), (4096, 32))  # texts x tokens
UNCAPTURED = "dense, kernel by kernel"
CLASSES = 10
CONNECTIONS, TURN_SECONDS = (1, 16, 64), 2

# B texts, L tokens, C classes.

Pass = Callable[[list[list[int]], DeviceTimer], tuple[NDArray[np.float32], float]]


def main() -> None:
    """Measure, write the results, print the table."""
    arguments = _parse()
    device = resolve_device("cuda")
    ids = token_stream(read_texts(arguments.data / FORWARD_SET / "train.jsonl"))
    with torch.inference_mode():
        found: dict[str, Any] = {"environment": describe()}
        fresh = partial(slices, ids)
        found["passes"] = [row for size in SIZES for row in measure(size, fresh, device, arguments.rounds)]
    if arguments.checkpoints:
        found["texts"] = [measure_texts(arguments, name) for name in SETS]
        found["service"] = measure_service(arguments.checkpoints / SETS[0], arguments.data / SETS[0] / "test.jsonl")
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found["passes"]), *(json.dumps(found.get(part), indent=1) for part in ("texts", "service")), sep="\n\n")


def measure(
    size: tuple[int, int], fresh: Callable[[int, int], tuple[Any, list[list[int]]]], device: torch.device, rounds: int
) -> list[dict[str, Any]]:
    """One row a candidate: its milliseconds, and how far its probabilities are from the dense float32 network's."""
    torch.manual_seed(0)
    dense = TextCnn(FORWARD, CLASSES).eval().requires_grad_(False)
    batch = fresh(*size)[1]
    lengths = torch.full((size[0],), size[1])
    expected = dense.logits(torch.tensor(batch), lengths).softmax(dim=1).numpy()  # (B, C)
    passes, timer = captured_passes(dense.to(device), device, size), DeviceTimer(device)
    taken: dict[tuple[str, str], list[float]] = {name: [] for name in passes}
    for _ in range(rounds):
        for name, run in passes.items():
            taken[name].append(run(fresh(*size)[1], timer)[1])
    rows = []
    for (form, precision), run in passes.items():
        outputs = run(batch, timer)[0]
        p50 = statistics.median(taken[form, precision])
        rows.append(
            {
                "texts": size[0],
                "tokens": size[1],
                "form": form,
                "precision": precision,
                "inference_ms": {"p50": round(p50, 4), **_percentiles(taken[form, precision])},
                "texts_per_second": round(1e3 * size[0] / p50),
                "largest_probability_difference": float(np.abs(outputs - expected).max()),
                "different_labels": int((outputs.argmax(axis=1) != expected.argmax(axis=1)).sum()),
            }
        )
    return rows


def captured_passes(dense: TextCnn, device: torch.device, size: tuple[int, int]) -> dict[tuple[str, str], Pass]:
    """Passes of that size, by form and precision."""
    outputs = partial(torch.softmax, dim=1)
    passes: dict[tuple[str, str], Pass] = {(UNCAPTURED, "float32"): partial(_uncaptured, dense, device)}
    for precision, dtype in DTYPES.items():
        forms: dict[str, Network] = {"folded": FoldedTextCnn(dense, dtype), "dense": _copy(dense, dtype)}
        for form, network in forms.items():
            if form == "dense" or precision != "tf32":  # what is folded multiplies no matrices but the last
                with tensor_float(precision == "tf32"):
                    passes[form, precision] = CapturedPass(network, outputs, device, size).run
    return passes


def measure_texts(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """From text to label with a trained checkpoint, microseconds a text on the host's clock."""
    classifier = TextClassifier.from_pretrained(arguments.checkpoints / name, "cuda")
    texts, draw = read_texts(arguments.data / name / "test.jsonl"), random.Random(0)
    found: dict[str, Any] = {"data_set": name, "folded": classifier.folded_bytes > 0}
    for count in (1, BATCH_TEXTS):
        taken, inside = [], []
        for _ in range(arguments.rounds):
            chosen = draw.sample(texts, count)
            begin = time.perf_counter()
            timing = classifier.classify(chosen)[1]
            taken.append((time.perf_counter() - begin) * 1e3)
            inside.append(timing.inference_ms)
        found[f"texts_{count}"] = {
            "p50_us_a_text": round(1e3 * statistics.median(taken) / count, 2),
            "inference_ms_p50": round(statistics.median(inside), 4),
            "clock": timing.clock,
        }
    return found


def measure_service(checkpoint: Path, texts: Path) -> dict[str, Any]:
    """Requests of one text each, from so many connections at once."""
    found = {}
    for device in ("cuda", "cpu"):
        with ours(checkpoint, "--device", device).running() as server:
            requests = requests_for([server.body(text) for text in read_texts(texts)])
            for connections in CONNECTIONS:
                Generator(server.address, requests).closed_loop(connections, 0.3)  # finds its caches
                outcome = Generator(server.address, requests).closed_loop(connections, TURN_SECONDS)
                found[f"{device}_{connections}"] = outcome.summary()
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a pass."""
    lines = ["| texts x tokens | network | precision | inference_ms p50 | p99 | texts/s | off by |", "|---" * 7 + "|"]
    for row in rows:
        times, size = row["inference_ms"], f"{row['texts']} x {row['tokens']}"
        cells = [size, row["form"], row["precision"], f"{times['p50']:.3f}", f"{times['p99']:.3f}"]
        cells += [f"{row['texts_per_second']:,}", f"{row['largest_probability_difference']:.1e}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _uncaptured(
    network: TextCnn, device: torch.device, batch: list[list[int]], timer: DeviceTimer
) -> tuple[NDArray[np.float32], float]:
    """The dense network as torch runs it by itself, one launch a kernel."""
    host = torch.tensor(batch)
    lengths = torch.full((len(batch),), host.shape[1])
    measurement = timer.start()
    outputs = network.logits(host.to(device), lengths.to(device)).softmax(dim=1)
    measurement.stop()
    return outputs.cpu().numpy(), measurement.elapsed_ms()


def _copy(dense: TextCnn, dtype: torch.dtype) -> TextCnn:
    copied = TextCnn(FORWARD, CLASSES).eval().requires_grad_(False)
    copied.load_state_dict(dense.state_dict())
    return copied.to(dense.embedding.weight.device, dtype)


def _percentiles(taken: Sequence[float]) -> dict[str, float]:
    return {f"p{share}": round(float(np.percentile(taken, share)), 4) for share in (90, 99)}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of data sets.")
    parser.add_argument("--checkpoints", type=Path, help="Folder of trained checkpoints, one a data set.")
    parser.add_argument("--rounds", type=int, default=200, help="Passes of each candidate.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
