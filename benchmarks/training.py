"""Speed of training on one CPU: ours, transformers' Trainer used plainly, a popular repository's loop, and bare loops.

python -m benchmarks.training --data FOLDER [--seconds 4] [--rounds 5] [--threads 1 2]

`--data` holds one folder a data set with train.jsonl. Every candidate lives in a process of its own and trains for some
seconds when it is its turn, first with each number of threads; the best one is kept for the rounds that count.
Writes benchmarks/results/training.json and prints a table.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.environment import describe
from benchmarks.training_candidates import CANDIDATES, Case, Setting

RESULTS = Path(__file__).parent / "results" / "training.json"
SMALL = ("--kernel_sizes", "2", "3", "4", "--num_filters", "100", "--per_device_train_batch_size", "64")
CASES = (
    Case(
        "3 x 256 filters, batch 128 x 32",
        "thucnews_title",
        (
            *("--kernel_sizes", "2", "3", "4", "--num_filters", "256", "--per_device_train_batch_size", "128"),
            *("--tokenizer", "char", "--max_length", "32", "--padding", "max_length", "--optim", "adam"),
            *("--learning_rate", "0.001", "--embedding_dim", "300"),
        ),
        ("ours", "conv2d_loop", "floor", "conv1d_floor"),
        {"conv2d_loop": 1.7, "floor": 0.85},
    ),
    *(
        Case(
            f"30,522 rows x 384, {texts} texts",
            data_set,
            (*SMALL, "--embedding_dim", "384"),
            ("ours", "plain_trainer", "floor", "conv1d_floor"),
            {"plain_trainer": 2.0, "floor": 0.85},
            rows=30_522,  # a BERT's vocabulary, whatever part of it the texts use
        )
        for texts, data_set in (("short", "clinc150"), ("long", "mr"))
    ),
    Case(
        "4k characters x 300",
        "thucnews_title",
        (*SMALL, "--tokenizer", "char", "--vocab_size", "4000", "--embedding_dim", "300"),
        ("ours", "plain_trainer", "floor", "conv1d_floor"),
        {"plain_trainer": 1.3, "floor": 0.85},
    ),
)


def serve(name: str, threads: int, case: Case, data: Path, scratch: Path, connection: Connection) -> None:
    """The life of a candidate: for each number of steps received, samples per second and its peak memory."""
    torch.set_num_threads(threads)
    setting = Setting(case, data, scratch)
    turn = CANDIDATES[name](setting)
    while (seconds := connection.recv()) > 0:
        warm = turn(5) / 5
        steps = max(10, round(seconds / warm))
        speed = steps * setting.batch_size / turn(steps)
        connection.send((speed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measure(
    case: Case, data: Path, seconds: float, rounds: int, thread_counts: list[int], scratch: Path
) -> dict[str, Any]:
    """Medians of the candidates of a case, each with its better number of threads."""
    context = multiprocessing.get_context("spawn")
    ends: dict[tuple[str, int], Connection] = {}
    processes = []
    Setting(case, data, scratch)  # tokenizes for all
    for name in case.candidates:
        for threads in thread_counts:
            ends[name, threads], theirs = context.Pipe()
            process = context.Process(target=serve, args=(name, threads, case, data, scratch, theirs), daemon=True)
            process.start()
            processes.append(process)
    ask = partial(_ask, seconds=seconds)
    first = {key: ask(end)[0] for key, end in ends.items()}
    best = {name: max(thread_counts, key=lambda threads, name=name: first[name, threads]) for name in case.candidates}  # type: ignore[misc]
    turns = [{name: ask(ends[name, best[name]]) for name in case.candidates} for _ in range(rounds)]
    for end in ends.values():
        end.send(0)
    for process in processes:
        process.join()
    rows = {
        name: {
            "samples_per_second": round(statistics.median(turn[name][0] for turn in turns), 1),
            "threads": best[name],
            "peak_rss_mib": round(max(turn[name][1] for turn in turns)),
        }
        for name in case.candidates
    }
    ratios = {
        name: round(float(np.median([turn["ours"][0] / turn[name][0] for turn in turns])), 2) for name in case.bars
    }
    return {"case": case.name, "data_set": case.data_set, "candidates": rows, "ours_to": ratios, "bars": case.bars}


def _ask(end: Connection, seconds: float) -> tuple[float, float]:
    end.send(seconds)
    answer: tuple[float, float] = end.recv()
    return answer


def table(results: list[dict[str, Any]]) -> str:
    """One line a candidate."""
    lines = [
        "| case | candidate | threads | samples/s | peak memory MiB | ours to it | bar |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for name, row in result["candidates"].items():
            ratio, bar = (result[kind].get(name, "") for kind in ("ours_to", "bars"))
            speed = f"{row['samples_per_second']:,.0f}"
            cells = (result["case"], name, row["threads"], speed, row["peak_rss_mib"], ratio, bar)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, write the results, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of data sets.")
    parser.add_argument("--seconds", type=float, default=4, help="Of each turn.")
    parser.add_argument("--rounds", type=int, default=5, help="Turns that count.")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="Tried; the best of a candidate counts.")
    arguments = parser.parse_args()
    options = (
        f"--seconds {arguments.seconds:g} --rounds {arguments.rounds} --threads {' '.join(map(str, arguments.threads))}"
    )
    command = f"python -m benchmarks.training --data FOLDER {options}"
    results: list[dict[str, Any]] = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            timing = (arguments.seconds, arguments.rounds, arguments.threads)
            results.append(measure(case, arguments.data, *timing, Path(scratch)))
        content = {"environment": describe(command), "results": results}  # a later case may be interrupted
        RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(table(results), flush=True)


if __name__ == "__main__":
    main()
