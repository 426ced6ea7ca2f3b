"""Accuracy of `textcnn-train` with no flags but files and output folder, on a folder of data sets, beside peers.

python -m benchmarks.accuracy --data FOLDER [--sets trec6 mr] [--seeds 42 1 2] [--flags="--teacher NAME ..."]

FOLDER holds one folder a data set with train.jsonl, validation.jsonl and test.jsonl; out-of-scope texts in
oos_test.jsonl are only measured. Every training is a process of its own, as a user would start it. The peers, for one
class a text, are fastText (pip install -r benchmarks/requirements.txt) and a linear model on TF-IDF n-grams; all get
`--threads` threads. Each is also measured on the test texts with typing mistakes in a share of their words. Results go
to benchmarks/results/accuracy.json after each run, in place of an earlier run with the same set, system, flags and
seed; a table is printed at the end.
"""

import argparse
import importlib.util
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy_table import table
from benchmarks.environment import describe
from benchmarks.peers.bags_of_words import Answers, Rows, fasttext, linear
from benchmarks.typos import with_typos
from model.classifier import TextClassifier

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
SPLITS = ("train", "validation", "test")
OUT_OF_SCOPE = "oos_test.jsonl"
PEERS = {"fasttext": fasttext, "linear": linear}
TYPO_SHARE, TYPO_SEED = 0.1, 0  # of the words, the same mistakes for every system

Run = dict[str, Any]


def main() -> None:
    """Train and measure every set with every system and every seed."""
    arguments = _parse()
    path = arguments.results
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"runs": []}
    results["environment"] = describe()
    for folder in _data_sets(arguments.data, arguments.sets):
        for system in arguments.systems:
            for seed in arguments.seeds:
                if run := measure(folder, system, seed, arguments.threads, arguments.flags):
                    _keep(path, results, run)
                    print(f"{folder.name} {system} seed {seed}: {run['test']}, {run['train_seconds']} s", flush=True)
    print(table(results["runs"]))


def measure(folder: Path, system: str, seed: int, threads: int, flags: str) -> Run | None:
    """One training run and what it is worth; None for a peer that cannot learn the set."""
    test = _rows(folder / "test.jsonl")
    typos, share = _mistyped(test.texts)
    run: Run = {"data_set": folder.name, "system": system, "seed": seed, "flags": flags, "threads": threads}
    if share:
        run["share_of_edited_words"] = round(share, 4)
    if system != "textcnn":
        return run | _peer(folder, system, seed, threads, typos) if test.labels and not flags else None
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "checkpoint"
        start = time.perf_counter()
        _train(folder, output, seed, threads, flags)
        run["command_seconds"] = round(time.perf_counter() - start, 1)
        metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
        if share and test.labels:
            answers = TextClassifier.from_pretrained(output, "cpu")(typos)
            run["typos_accuracy"] = _accuracy([prediction.label or "" for prediction in answers], test.labels)
    kept = ("validation", "test", "calibration", "abstention", "distillation", "vectors", "train")
    return run | {key: metrics[key] for key in kept if key in metrics} | {"train_seconds": metrics["train"]["seconds"]}


def _train(folder: Path, output: Path, seed: int, threads: int, flags: str) -> None:
    command = [sys.executable, "-m", "training", "--output_dir", str(output), "--seed", str(seed), *shlex.split(flags)]
    for split in SPLITS:
        command += [f"--{split}_file", str(folder / f"{split}.jsonl")]
    if (folder / OUT_OF_SCOPE).is_file():
        command += ["--out_of_scope_test_file", str(folder / OUT_OF_SCOPE)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if finished.returncode != 0:
        sys.exit(f"{shlex.join(command)}\n{finished.stderr}")


def _peer(folder: Path, system: str, seed: int, threads: int, typos: list[str]) -> Run:
    """A peer learns from the training texts alone, as ours does: the validation texts choose no weights."""
    test = _rows(folder / "test.jsonl")
    answers: Answers = PEERS[system](_rows(folder / "train.jsonl"), [test.texts, typos], seed, threads)
    clean, mistyped = (_accuracy(labels, test.labels) for labels in answers.labels)
    shown = {"typos_accuracy": mistyped} if typos != test.texts else {}
    return {"test": {"accuracy": clean}, **shown, "train_seconds": round(answers.train_seconds, 2)}


def _mistyped(texts: list[str]) -> tuple[list[str], float]:
    """The texts with typing mistakes, and the share of their words that these changed, 0 where there are no words."""
    draw = random.Random(TYPO_SEED)
    found = [with_typos(text, TYPO_SHARE, draw) for text in texts]
    changed, words = (sum(counts) for counts in list(zip(*found, strict=True))[1:])
    return [text for text, _, _ in found], changed / words if 2 * words > len(texts) else 0.0


def _accuracy(found: list[str], wanted: list[str]) -> float:
    return float(np.mean(np.array(found) == np.array(wanted)))


def _rows(path: Path) -> Rows:
    """The texts and their one class each; no classes where texts have several."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return Rows([row["text"] for row in rows], [str(row["label"]) for row in rows if "label" in row])


def _keep(path: Path, results: dict[str, Any], run: Run) -> None:
    def name(run: Run) -> tuple[Any, ...]:
        return run["data_set"], run["system"], run["flags"], run["seed"]

    results["runs"] = sorted([r for r in results["runs"] if name(r) != name(run)] + [run], key=name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _data_sets(data: Path, wanted: list[str] | None) -> list[Path]:
    complete = [path for path in sorted(data.iterdir()) if all((path / f"{s}.jsonl").is_file() for s in SPLITS)]
    return [path for path in complete if wanted is None or path.name in wanted]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of data sets.")
    parser.add_argument("--sets", nargs="+", help="Names of the data sets; all if not given.")
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[42, 1, 2], help="One run each; 42 is what textcnn-train takes itself."
    )
    here = [name for name in PEERS if name != "fasttext" or importlib.util.find_spec("fasttext") is not None]
    systems = ["textcnn", *here]
    parser.add_argument("--systems", nargs="+", choices=systems, default=systems, help="Ours and the peers.")
    parser.add_argument("--threads", type=int, default=1, help="Threads of each.")
    parser.add_argument("--flags", default="", help="Further flags of textcnn-train; peers are left out then.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="File that the results are kept in.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
