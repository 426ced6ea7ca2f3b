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


Message = tuple[bytes, dict[str, str]]  # body, headers


def requests(model: str) -> dict[str, tuple[str, Callable[[str], Message]]]:
    """Path of each dialect, and its message for a text."""
    infer = f"/v2/models/{model}/infer"
    return {
        "predict": ("/predict", lambda text: as_json({"inputs": text})),
        "explain": ("/predict", lambda text: as_json({"inputs": text, "explain": True})),
        "hf": ("/hf", lambda text: as_json({"inputs": text})),
        "tei": ("/tei/predict", lambda text: as_json({"inputs": text})),
        "vllm": ("/classify", lambda text: as_json({"input": text})),
        "kserve": (infer, lambda text: as_json({"inputs": [tensor(data=[text])]})),
        "kserve_binary": (infer, as_tensors),
    }


def as_json(content: object) -> Message:
    """What most clients send."""
    return json.dumps(content).encode(), {"Content-Type": "application/json"}


def as_tensors(text: str) -> Message:
    """What tritonclient sends unless it is told otherwise: the text after the JSON, the reply in binary too."""
    data = text.encode()
    data = len(data).to_bytes(4, "little") + data
    asked = {"inputs": [tensor(parameters={"binary_data_size": len(data)})], "parameters": {"binary_data_output": True}}
    head = json.dumps(asked).encode()
    return head + data, {"Inference-Header-Content-Length": str(len(head))}


def tensor(**content: object) -> dict[str, object]:
    """KServe's, of one text."""
    return {"name": "text", "datatype": "BYTES", "shape": [1], **content}


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

        def asking(path: str, message: Callable[[str], Message]) -> Callable[[str], object]:
            def ask(text: str) -> None:
                connection.request("POST", path, *message(text))
                reply = connection.getresponse()
                content = reply.read()
                if reply.status != 200:
                    raise RuntimeError(f"{path}: {content!r}")

            return ask

        candidates = {
            name: asking(path, message) for name, (path, message) in requests(Path(arguments.checkpoint).name).items()
        }
        found = alternate(candidates, lambda: next(texts), arguments.seconds)
    for name, figures in found.items():
        figures["over_predict"] = round(figures["p50_us"] / found["predict"]["p50_us"], 3)
        print(f"{name:13} {figures['p50_us']:8.1f} µs   {figures['over_predict']:.3f} of /predict")
    result = {"environment": describe(), "dialects": found}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
