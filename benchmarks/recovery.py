"""Seconds from start to the first answer, to normal service after a killed worker, from SIGTERM to a free port.

python -m benchmarks.recovery [--checkpoint runs/quickstart] [--rounds 5]
"""

import argparse
import json
import os
import signal
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from model.abstention import pack_tokens
from model.configuration_textcnn import TextCnnConfig
from model.modeling_textcnn import TextCnnForSequenceClassification
from model.saving import save_checkpoint

from .environment import describe
from .generator import Generator, Outcome, requests_for
from .load import with_checkpoint
from .running import ROOT, Server, ours

EMBEDDING_BYTES = 100_000_000  # of the checkpoint that is started
CONNECTIONS = 16
LOAD_SECONDS = 8.0
HEAD_START_SECONDS = 1.0  # of the load, before something happens to the service
RESULTS = ROOT / "benchmarks" / "results" / "recovery.json"


def main() -> None:
    """Write the result file and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "runs" / "quickstart")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    checkpoint = with_checkpoint(arguments.checkpoint)
    found = {
        "environment": describe(),
        "start_s": start(checkpoint, arguments.rounds),
        "connections": CONNECTIONS,
        "worker_killed_s": [worker_killed(checkpoint) for _ in range(arguments.rounds)],
        "sigterm_to_free_port_s": [sigterm(checkpoint) for _ in range(arguments.rounds)],
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    json.dump(found, sys.stdout, indent=1)


def start(checkpoint: Path, rounds: int) -> list[float]:
    """From the command to the first answer, with a checkpoint like `checkpoint` but for a vocabulary that fills it."""
    config = TextCnnConfig.from_pretrained(checkpoint)
    config.vocab_size = EMBEDDING_BYTES // (config.embedding_dim * 4)
    config.abstention_unseen_tokens = pack_tokens(np.zeros(config.vocab_size, dtype=bool))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoint)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(TextCnnForSequenceClassification(config), tokenizer, Path(folder), {})
        for _ in range(rounds):
            begin = time.perf_counter()
            with ours(Path(folder)).running():
                found.append(round(time.perf_counter() - begin, 2))
    return found


def worker_killed(checkpoint: Path) -> float:
    """The longest that any client waited, all of them answered, while the only worker is killed."""
    with ours(checkpoint).running() as server, under_load(server) as load:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.address[1]}/info") as reply:
            (worker,) = json.load(reply)["workers"]
        os.kill(worker["pid"], signal.SIGKILL)
        outcome = load.result()
    if set(outcome.statuses) != {200}:
        sys.exit(f"error: every request must be answered, got {outcome.statuses}")
    return round(max(outcome.latencies), 2)


def sigterm(checkpoint: Path) -> float:
    """From the signal until another program can listen on the port."""
    with ours(checkpoint).running() as server, under_load(server) as load:
        start = time.perf_counter()
        status = server.terminate()
        socket.create_server(server.address).close()
        seconds = time.perf_counter() - start
        with suppress(ConnectionError):  # the load ends where the service hangs up, in order
            load.result()
    if status:
        sys.exit(f"error: the service must end with status 0, got {status}")
    return round(seconds, 2)


@contextmanager
def under_load(server: Server) -> Iterator["Future[Outcome]"]:
    """Clients ask `server` meanwhile, for `LOAD_SECONDS` in all."""
    texts = (ROOT / "training" / "quickstart" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    requests = requests_for([server.body(json.loads(line)["text"]) for line in texts])
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(Generator(server.address, requests).closed_loop, CONNECTIONS, LOAD_SECONDS)
        time.sleep(HEAD_START_SECONDS)
        yield load


if __name__ == "__main__":
    main()
