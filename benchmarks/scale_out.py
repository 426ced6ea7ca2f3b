"""What replicas bring: one on a core of its own, and two behind haproxy beside one alone on the same cores.

    python -m benchmarks.scale_out    # runs/quickstart, about three minutes; needs Debian's haproxy

Nobody is paused here: a service that nobody asks uses no core. The load generator shares the cores, but for the
replica that has one to itself: then it has the others.
"""

import argparse
import json
import math
import os
import re
import shutil
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from model.classifier import TextClassifier

from .environment import describe
from .generator import Generator, Outcome, requests_for
from .load import LIST_TEXTS, with_checkpoint
from .running import ROOT, Server, free_port, ours

CONFIGURATION = ROOT / "service" / "deploy" / "haproxy.cfg"
RESULTS = ROOT / "benchmarks" / "results" / "scale_out.json"
README = ROOT / "service" / "README.md"
CONNECTIONS = (16, 64)
UTILISATION = 0.6  # of a replica's capacity that is planned with: the rest is for bursts and restarts
RATES = (1_000, 10_000, 100_000, 1_000_000)  # texts/s
ONE, LISTS = "one text a request", f"{LIST_TEXTS} texts a request"


def main() -> None:
    """Measure, write the result file, draw the sizing table anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "runs" / "quickstart")
    parser.add_argument("--texts", type=Path, default=ROOT / "training" / "quickstart" / "test.jsonl")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="Of a turn.")
    arguments = parser.parse_args()
    checkpoint = with_checkpoint(arguments.checkpoint)
    with arguments.texts.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    found = {
        **describe(),
        "texts": _lengths(checkpoint, texts),
        "one_core": measure_one_core(checkpoint, texts, arguments.rounds, arguments.seconds),
        "same_cores": measure_same_cores(checkpoint, texts, arguments.rounds, arguments.seconds),
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(found)
    print(json.dumps(found, indent=1))


def measure_one_core(checkpoint: Path, texts: list[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Texts a second of one replica on the first core, asked from the others; medians, and its memory."""
    first, *others = sorted(os.sched_getaffinity(0))
    lists = [texts[start : start + LIST_TEXTS] for start in range(0, len(texts) - LIST_TEXTS, LIST_TEXTS)]
    rates: dict[str, list[float]] = {ONE: [], LISTS: []}
    with ours(checkpoint).running() as server:
        for process in server.processes():
            for thread in process.threads():
                os.sched_setaffinity(thread.id, {first})
        os.sched_setaffinity(0, others)
        single, several = (requests_for([server.body(entry) for entry in batch]) for batch in (texts, lists))
        for turn in range(rounds):
            rates[ONE].append(_rate(server, single, 64, seconds, turn))
            rates[LISTS].append(LIST_TEXTS * _rate(server, several, 4, seconds, turn))
        memory = server.memory_mb()
        os.sched_setaffinity(0, {first, *others})
    return {
        "memory_mb": memory,
        "texts_per_s": {name: round(statistics.median(found)) for name, found in rates.items()},
    }


def measure_same_cores(checkpoint: Path, texts: list[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Requests a second of one replica, of one behind haproxy, and of two behind it, in turns; and their ratios."""
    pooled: dict[str, dict[int, Outcome]] = {}
    with ExitStack() as stack:
        replicas = [stack.enter_context(ours(checkpoint).running()) for _ in range(2)]
        behind = {"1 behind haproxy": [replicas[0], replicas[0]], "2 behind haproxy": replicas}
        servers = {"1": replicas[0]}
        servers |= {name: stack.enter_context(haproxy(name, those).running()) for name, those in behind.items()}
        requests = requests_for([replicas[0].body(text) for text in texts])
        for turn in range(rounds):
            for connections in CONNECTIONS:
                for name, server in servers.items():
                    outcome = _turn(server, requests, connections, seconds, turn)
                    pooled.setdefault(name, {}).setdefault(connections, Outcome()).add(outcome)
    return {name: {str(count): pool.summary() for count, pool in by.items()} for name, by in pooled.items()}


def haproxy(name: str, replicas: Sequence[Server]) -> Server:
    """The load balancer with the configuration that we ship, in front of two replicas or of one under two names."""
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        sys.exit("error: haproxy must be installed, it is not; run: apt-get install haproxy")
    places = {f"REPLICA_{number}": "{}:{}".format(*one.address) for number, one in enumerate(replicas, 1)}
    places |= {"LISTEN": "127.0.0.1:PORT", "STATISTICS": f"127.0.0.1:{free_port()}"}
    return Server(name, [program, "-f", str(CONFIGURATION)], places)


def _turn(server: Server, requests: Sequence[bytes], connections: int, seconds: float, seed: int) -> Outcome:
    Generator(server.address, requests, seed).closed_loop(connections, 0.3)  # finds its caches again
    return Generator(server.address, requests, seed).closed_loop(connections, seconds)


def _rate(server: Server, requests: Sequence[bytes], connections: int, seconds: float, seed: int) -> float:
    outcome = _turn(server, requests, connections, seconds, seed)
    return len(outcome.latencies) / outcome.seconds


def _lengths(checkpoint: Path, texts: list[str]) -> dict[str, float]:
    """Mean length of the texts, so that the figures can be judged."""
    tokenizer = TextClassifier.from_pretrained(checkpoint, "cpu")._tokenizer
    tokens = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
    return {
        "mean_characters": round(statistics.mean(map(len, texts)), 1),
        "mean_tokens": round(statistics.mean(tokens), 1),
    }


def sizing(found: dict[str, Any]) -> str:
    """The sizing table: for each rate the replicas of one core each, and 10^9 bytes of memory."""
    per_core, memory = found["one_core"]["texts_per_s"], found["one_core"]["memory_mb"]
    heads = " | ".join(f"replicas, {name} | memory" for name in per_core)
    lines = [f"| texts/s | {heads} |", "|---|" + "---|---|" * len(per_core)]
    for rate in RATES:
        replicas = [math.ceil(rate / (UTILISATION * texts)) for texts in per_core.values()]
        cells = (f"{count:,} | {count * memory / 1e3:,.1f} GB" for count in replicas)
        lines.append(f"| {rate:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(found: dict[str, Any]) -> None:
    """Put the sizing table between its marks in the service's README."""
    text = README.read_text(encoding="utf-8")
    marked = f"<!-- sizing -->\n{sizing(found)}\n<!-- /sizing -->"
    README.write_text(re.sub(r"<!-- sizing -->.*<!-- /sizing -->", marked, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
