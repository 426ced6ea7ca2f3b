"""Accuracy of `textcnn-train` with no flags but files and output folder, on a folder of data sets, over several seeds.

python -m benchmarks.accuracy --data FOLDER [--sets trec6 mr] [--seeds 1 2 3]

FOLDER holds one folder a data set with train.jsonl, validation.jsonl and test.jsonl. Every run is a process of its own,
as a user would start it. Results go to benchmarks/results/accuracy.json after each run; a table is printed at the end.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.environment import describe

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
SPLITS = ("train", "validation", "test")


def main() -> None:
    """Train and measure every set with every seed."""
    arguments = _parse()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"runs": []}
    results["environment"] = describe("python -m benchmarks.accuracy --data FOLDER")
    for folder in _data_sets(arguments.data, arguments.sets):
        for seed in arguments.seeds:
            run = measure(folder, seed)
            others = [r for r in results["runs"] if (r["data_set"], r["seed"]) != (run["data_set"], seed)]
            results["runs"] = sorted([*others, run], key=lambda run: (run["data_set"], run["seed"]))
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(f"{folder.name} seed {seed}: {run['test']} in {run['command_seconds']:.0f} s", flush=True)
    print(table(results["runs"]))


def measure(folder: Path, seed: int) -> dict[str, Any]:
    """One training run and what its metrics.json says."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "checkpoint"
        command = [sys.executable, "-m", "training", "--output_dir", str(output), "--seed", str(seed)]
        for split in SPLITS:
            command += [f"--{split}_file", str(folder / f"{split}.jsonl")]
        start = time.perf_counter()
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        if finished.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{finished.stderr}")
        metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    return {
        "data_set": folder.name,
        "seed": seed,
        "validation": metrics["validation"],
        "test": metrics["test"],
        "train": metrics["train"],
        "command_seconds": round(seconds, 1),
    }


def table(runs: Iterable[dict[str, Any]]) -> str:
    """Mean and standard deviation over the seeds, in percent, one line a data set."""
    by_set: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_set.setdefault(run["data_set"], []).append(run)
    lines = ["| data set | seeds | test metrics in % (mean ± standard deviation) | command in s |", "|---|---|---|---|"]
    for name, members in by_set.items():
        scores = {key for key in members[0]["test"] if key.startswith(("accuracy", "f1"))}
        shown = ", ".join(f"{key} {_percent(run['test'][key] for run in members)}" for key in sorted(scores))
        seconds = statistics.mean(run["command_seconds"] for run in members)
        lines.append(f"| {name} | {len(members)} | {shown} | {seconds:.0f} |")
    return "\n".join(lines)


def _percent(values: Iterable[float]) -> str:
    found = [100 * value for value in values]
    return f"{statistics.mean(found):.1f} ± {statistics.stdev(found) if len(found) > 1 else 0:.1f}"


def _data_sets(data: Path, wanted: list[str] | None) -> list[Path]:
    complete = [path for path in sorted(data.iterdir()) if all((path / f"{s}.jsonl").is_file() for s in SPLITS)]
    return [path for path in complete if wanted is None or path.name in wanted]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of data sets.")
    parser.add_argument("--sets", nargs="+", help="Names of the data sets; all if not given.")
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=[42, 1, 2],
        help="One run each; 42 is what textcnn-train takes by itself.",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
