"""What a request costs in each dialect, or with its evidence, beside `/predict`: one client, one text, in turns.

python -m benchmarks.dialects --checkpoint runs/quickstart
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.alternation import alternate
from benchmarks.environment import describe
from benchmarks.running import ROOT, Server

RESULT = Path(__file__).with_name("results") / "dialects.json"


def requests(model: str) -> dict[str, tuple[str, Callable[[str], object]]]:
    """Path of each dialect, and its body for a text."""

    def tensor(text: str) -> object:
        return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]}

    return {
        "predict": ("/predict", lambda text: {"inputs": text}),
        "explain": ("/predict", lambda text: {"inputs": text, "explain": True}),
        "hf": ("/hf", lambda text: {"inputs": text}),
        "tei": ("/tei/predict", lambda text: {"inputs": text}),
        "vllm": ("/classify", lambda text: {"input": text}),
        "kserve": (f"/v2/models/{model}/infer", tensor),
    }


def main() -> int:
    """Measure, print the ratios, write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    flags = ["--checkpoint", arguments.checkpoint, "--port", "PORT", "--device", "cpu"]
    lines = (ROOT / "training" / "quickstart" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    texts = itertools.cycle([json.loads(line)["text"] for line in lines])
    with Server("textcnn", [sys.executable, "-m", "service", *flags]).running() as server:
        connection = HTTPConnection(*server.address)

        def asking(path: str, body: Callable[[str], object]) -> Callable[[str], object]:
            def ask(text: str) -> None:
                connection.request("POST", path, json.dumps(body(text)), {"Content-Type": "application/json"})
                reply = connection.getresponse()
                content = reply.read()
                if reply.status != 200:
                    raise RuntimeError(f"{path}: {content!r}")

            return ask

        candidates = {
            name: asking(path, body) for name, (path, body) in requests(Path(arguments.checkpoint).name).items()
        }
        found = alternate(candidates, lambda: next(texts), arguments.seconds)
    for name, figures in found.items():
        figures["over_predict"] = round(figures["p50_us"] / found["predict"]["p50_us"], 3)
        print(f"{name:8} {figures['p50_us']:8.1f} µs   {figures['over_predict']:.3f} of /predict")
    result = {"environment": describe("python -m benchmarks.dialects"), "dialects": found}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
