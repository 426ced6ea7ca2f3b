"""`textcnn-classify` on a million texts: its speed beside the classifier in process, and its memory over time.

python -m benchmarks.scoring --data FOLDER --checkpoint FOLDER [--texts 1000000]

`--data` holds a data set's test.jsonl, whose texts are repeated. Both use half of the cores for the network and half
for the tokenizer, or two threads for both on one to three cores. Writes benchmarks/results/scoring.json and prints a
line.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import psutil

from benchmarks.environment import describe
from model.folders import Job
from model.options import InferenceOptions
from model.scoring import ScoringOptions

RESULTS = Path(__file__).parent / "results" / "scoring.json"
BATCH_TEXTS = 256
SAMPLES = 20  # of memory, evenly over the run


def main() -> None:
    """Measure in process, then the command, then in process again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of a data set.")
    parser.add_argument("--checkpoint", required=True, help="Checkpoint folder.")
    parser.add_argument("--texts", type=int, default=1_000_000, help="Rows of the file.")
    arguments = parser.parse_args()
    with (arguments.data / "test.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    rates = [in_process(arguments.checkpoint, texts)]
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "texts.jsonl"
        with source.open("w", encoding="utf-8") as file:
            for number, text in enumerate(islice(cycle(texts), arguments.texts)):
                file.write(json.dumps({"id": number, "text": text}, ensure_ascii=False) + "\n")
        command = run(arguments.checkpoint, source, Path(scratch) / "scored.jsonl", arguments.texts)
    rates.append(in_process(arguments.checkpoint, texts))
    results = {
        "environment": describe(),
        "data_set": arguments.data.name,
        "in_process_texts_per_s": [round(rate) for rate in rates],
        "command": command,
        "share_of_in_process": round(2 * command["texts_per_s"] / sum(rates), 2),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results))


def in_process(checkpoint: str, texts: list[str], seconds: float = 10) -> float:
    """Texts per second of `TextClassifier` in batches."""
    classifier = Job(checkpoint, "cpu", InferenceOptions(), ScoringOptions()).classifier()
    draw, done = random.Random(0), 0
    classifier(draw.sample(texts, BATCH_TEXTS))
    begin = time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < seconds:
        classifier(draw.sample(texts, BATCH_TEXTS))
        done += BATCH_TEXTS
    return done / elapsed


def run(checkpoint: str, source: Path, target: Path, texts: int) -> dict[str, Any]:
    """The command's own figures and the resident memory of its process, from when it began to write."""
    flags = ["--checkpoint", checkpoint, "--device", "cpu", "--input", str(source), "--output", str(target)]
    command = [sys.executable, "-m", "model", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    watched = psutil.Process(process.pid)
    memory: list[float] = []
    partial = target.with_name(f"{target.name}.partial")
    while process.poll() is None:
        if partial.exists():
            memory.append(watched.memory_info().rss / 1e6)
        time.sleep(0.25)
    _, told = process.communicate()
    if process.returncode != 0:
        sys.exit(told)
    seconds = float(told.split(" texts in ")[1].split()[0])
    with target.open(encoding="utf-8") as lines:
        ids = [json.loads(line)["id"] for line in lines]
    assert ids == list(range(texts))
    return {
        "texts": texts,
        "seconds": seconds,
        "texts_per_s": round(texts / seconds),
        "resident_mb": [round(value) for value in memory[:: max(1, len(memory) // SAMPLES)]],
    }


if __name__ == "__main__":
    main()
