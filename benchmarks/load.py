"""Requests a second and latency of the service under load, beside other ways to serve the same checkpoint.

    python -m benchmarks.load                       # runs/quickstart, about ten minutes
    python -m benchmarks.load --soak_seconds 600    # and ten minutes at 80 % of the capacity

Everybody gets the same checkpoint, the same texts, one torch thread and one worker. All servers run at once and are
paused but for the one that is measured; turns of two seconds alternate, so that the machine's moods fall on all alike.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .environment import describe
from .generator import Generator, Outcome, percentile_ms, requests_for
from .running import ROOT, Server, ours, peers
from .slowed import PASS_SECONDS

CONNECTIONS = (1, 16, 64)
LIST_TEXTS = 32  # in a request of `measure_lists`
SHARE = 0.8  # of the capacity, in the open loop and the soak
SLOW_BATCH = 8  # texts in a pass of the slowed network
DEADLINE_MS = 2000
RESULTS = ROOT / "benchmarks" / "results" / "load.json"
IN_PROCESS = """
import sys, time, json, random, torch
torch.set_num_threads(1)
from model.classifier import TextClassifier
texts, classifier = json.load(sys.stdin), TextClassifier.from_pretrained(sys.argv[1], "cpu")
draw, count, classify = random.Random(0), 0, lambda: classifier(draw.sample(texts, int(sys.argv[2])))
for _ in range(50): classify()
end = time.perf_counter() + float(sys.argv[3])
while time.perf_counter() < end: classify(); count += 1
print(count * int(sys.argv[2]) / float(sys.argv[3]))
"""


def main() -> None:
    """Write the result file and print the tables."""
    arguments = _parse()
    checkpoint = with_checkpoint(arguments.checkpoint)
    with arguments.texts.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    found: dict[str, Any] = {**describe(), "generator_us": own_cost_us(texts)}
    parts: dict[str, Any] = {
        "closed_loop": lambda: compare(checkpoint, texts, arguments.rounds, arguments.seconds),
        "lists": lambda: measure_lists(checkpoint, texts, arguments.rounds, arguments.seconds),
        "open_loop": lambda: measure_open_loop(checkpoint, texts, arguments.seconds * arguments.rounds),
        "overload": lambda: measure_overload(checkpoint, texts, arguments.seconds * arguments.rounds),
    }
    for name in parts if arguments.only is None else arguments.only:
        found[name] = parts[name]()
    if arguments.soak_seconds:
        found["soak"] = soak(checkpoint, texts, arguments.soak_seconds)
    before = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    arguments.output.write_text(json.dumps(before | found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if "closed_loop" in found:
        print(table(found["closed_loop"]))


def compare(checkpoint: Path, texts: list[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Every server at every number of connections, in turns; and the processor time of ours when nobody asks."""
    pooled: dict[str, dict[int, Outcome]] = {}
    with ExitStack() as stack:
        servers = [stack.enter_context(server.running()) for server in (ours(checkpoint), *peers(checkpoint))]
        idle = idle_cores(servers[0], 10 * seconds / 2)
        requests = {server.name: requests_for([server.body(text) for text in texts]) for server in servers}
        for server in servers:
            server.pause()
        for turn in range(rounds):
            for connections in CONNECTIONS:
                for server in servers:
                    pool = pooled.setdefault(server.name, {}).setdefault(connections, Outcome())
                    pool.add(_turn(server, requests[server.name], connections, seconds, turn))
        for server in servers:
            server.resume()
    names = {name: {str(count): pool.summary() for count, pool in by.items()} for name, by in pooled.items()}
    return {"seconds": rounds * seconds, "idle_cores": idle, "servers": names}


def _turn(server: Server, requests: Sequence[bytes], connections: int, seconds: float, seed: int) -> Outcome:
    server.resume()
    Generator(server.address, requests, seed).closed_loop(connections, 0.3)  # finds its caches again
    outcome = Generator(server.address, requests, seed).closed_loop(connections, seconds)
    server.pause()
    _note(f"{server.name} {connections}: {outcome.summary()}")
    return outcome


def idle_cores(server: Server, seconds: float) -> float:
    """Cores that the server uses while nobody asks."""
    before = server.cpu_seconds()
    time.sleep(seconds)
    return round((server.cpu_seconds() - before) / seconds, 4)


def measure_lists(checkpoint: Path, texts: list[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Texts a second in lists, over HTTP and in process, in turns; medians."""
    lists = [texts[start : start + LIST_TEXTS] for start in range(0, len(texts) - LIST_TEXTS, LIST_TEXTS)]
    served, in_process = [], []
    with ours(checkpoint).running() as server:
        requests = requests_for([server.body(texts) for texts in lists])
        for turn in range(rounds):
            outcome = _turn(server, requests, 4, seconds, turn)
            served.append(len(outcome.latencies) * LIST_TEXTS / outcome.seconds)
            command = [sys.executable, "-c", IN_PROCESS, str(checkpoint), str(LIST_TEXTS), str(seconds)]
            run = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True, cwd=ROOT)
            in_process.append(float(run.stdout))
        server.resume()
    ours_median, theirs = sorted(served)[rounds // 2], sorted(in_process)[rounds // 2]
    return {"texts_per_s": round(ours_median), "in_process": round(theirs), "ratio": round(ours_median / theirs, 3)}


def measure_open_loop(checkpoint: Path, texts: list[str], seconds: float) -> dict[str, Any]:
    """Latency while requests come at random moments, at shares of what 64 connections reach."""
    found = {}
    with ours(checkpoint).running() as server:
        requests = requests_for([server.body(text) for text in texts])
        capacity = _capacity(server, requests, seconds)
        for share in (0.2, 0.5, SHARE):
            outcome = Generator(server.address, requests).open_loop(share * capacity, seconds)
            found[str(share)] = {"offered_per_s": round(share * capacity, 1), **outcome.summary()}
            _note(f"open loop {share}: {found[str(share)]}")
    return found


def measure_overload(checkpoint: Path, texts: list[str], seconds: float) -> dict[str, Any]:
    """Five times the capacity of a slowed network: who is accepted is answered in time, the others know at once."""
    flags = ("--max_batch_size", str(SLOW_BATCH), "--timeout_s", str(DEADLINE_MS / 1e3), "--max_waiting_texts", "400")
    server = ours(checkpoint, *flags)
    server.command[2] = "benchmarks.slowed"
    with server.running():
        requests = requests_for([server.body(text) for text in texts])
        capacity = SLOW_BATCH / PASS_SECONDS
        reached = len(Generator(server.address, requests).closed_loop(64, seconds).latencies) / seconds
        outcome = Generator(server.address, requests).open_loop(5 * capacity, seconds)
    found = {
        "capacity_per_s": round(reached, 1),
        "offered_per_s": 5 * capacity,
        "deadline_ms": DEADLINE_MS,
        "refusal_p99_ms": percentile_ms(outcome.refusals, 99),
        "of_capacity": round(len(outcome.latencies) / outcome.seconds / reached, 3),
        **outcome.summary(),
    }
    _note(f"overload: {found}")
    return found


def soak(checkpoint: Path, texts: list[str], seconds: float) -> dict[str, Any]:
    """A long time at 80 % of the capacity: failures, memory and the slowest hundredth, minute by minute."""
    memory: list[float] = []
    tails: list[float] = []
    with ours(checkpoint).running() as server:
        requests = requests_for([server.body(text) for text in texts])
        rate = SHARE * _capacity(server, requests, 10)
        total, end = Outcome(), time.monotonic() + seconds
        while time.monotonic() < end:
            minute = Generator(server.address, requests, len(memory)).open_loop(rate, min(60.0, seconds))
            total.add(minute)
            tails.append(percentile_ms(minute.latencies, 99))
            memory.append(server.memory_mb())
            _note(f"soak: {minute.summary()} {memory[-1]} MB")
    by_minute = {"p99_ms_by_minute": tails, "memory_mb_by_minute": memory}
    return {"offered_per_s": round(rate, 1), **total.summary(), **by_minute}


def _capacity(server: Server, requests: Sequence[bytes], seconds: float) -> float:
    Generator(server.address, requests).closed_loop(64, 1)
    outcome = Generator(server.address, requests).closed_loop(64, seconds)
    return len(outcome.latencies) / outcome.seconds


def own_cost_us(texts: list[str]) -> float:
    """Processor time of the generator itself for each request, against a server that costs next to nothing."""
    program = (
        "import socket, threading\n"
        "reply = b'HTTP/1.1 200 OK\\r\\ncontent-length: 900\\r\\n\\r\\n' + b' ' * 900\n"
        "def work(client):\n"
        "    while client.recv(65536): client.sendall(reply)\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "print(listener.getsockname()[1], flush=True)\n"
        "while True: threading.Thread(target=work, args=(listener.accept()[0],), daemon=True).start()\n"
    )
    command, quietly = [sys.executable, "-c", program], subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quietly, text=True) as process:
        assert process.stdout
        address = "127.0.0.1", int(process.stdout.readline())
        requests = requests_for([json.dumps({"inputs": text}).encode() for text in texts])
        before = time.process_time()
        outcome = Generator(address, requests).closed_loop(16, 2)
        cost = (time.process_time() - before) / len(outcome.latencies)
        process.kill()
    return round(cost * 1e6, 1)


def table(closed_loop: dict[str, Any]) -> str:
    """One line a server: requests a second and percentiles at 1, 16 and 64 connections, and how many times ours."""
    lines = [
        "| server | connections | requests/s | p50 ms | p95 ms | p99 ms | ours to it |",
        "|---|---|---|---|---|---|---|",
    ]
    first = closed_loop["servers"]["ours"]
    for name, by in closed_loop["servers"].items():
        for count, row in by.items():
            ratio = first[count]["requests_per_s"] / row["requests_per_s"]
            cells = (f"{row[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms"))
            lines.append(f"| {name} | {count} | {row['requests_per_s']:.0f} | {' | '.join(cells)} | {ratio:.1f} |")
    return "\n".join(lines)


def with_checkpoint(folder: Path) -> Path:
    """The checkpoint, trained on the quickstart data if it is not there."""
    if not (folder / "config.json").is_file():
        config = ["--config", "training/configs/quickstart.yaml", "--output_dir", str(folder), "--overwrite_output_dir"]
        subprocess.run([sys.executable, "-m", "training", *config], check=True, stdout=sys.stderr, cwd=ROOT)
    return folder


def _note(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "runs" / "quickstart")
    parser.add_argument("--texts", type=Path, default=ROOT / "training" / "quickstart" / "test.jsonl")
    parser.add_argument("--rounds", type=int, default=5, help="Turns of each server.")
    parser.add_argument("--seconds", type=float, default=2, help="Of a turn.")
    parser.add_argument("--soak_seconds", type=float, default=0)
    parser.add_argument("--only", nargs="*", help="Some of closed_loop, lists, open_loop, overload; nothing for none.")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
