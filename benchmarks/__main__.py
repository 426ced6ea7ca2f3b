"""`make benchmark DATA=folder`: latency, training, accuracy and load, one after the other; the rest is run by name."""

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run each benchmark in a process of its own; 0 if all went through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="Folder of data sets, each with train, validation, test .jsonl.")
    data = parser.parse_args().data
    if not Path(data).is_dir():
        sys.exit(f"error: data must be a folder, got {data!r}; run: make benchmark DATA=folder")
    commands = [[f"benchmarks.{name}", "--data", data] for name in ("latency", "training", "accuracy")] + [
        ["benchmarks.load"]
    ]
    codes = [subprocess.run([sys.executable, "-m", *command], check=False).returncode for command in commands]
    return int(any(codes))  # what a signal ended has a code below 0


if __name__ == "__main__":
    sys.exit(main())
