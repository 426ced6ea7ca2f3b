"""What the service says of itself: `/info`, and the gauges that `/metrics` has besides its sums."""

from .config import Limits
from .gateway import Gateway
from .metrics import label
from .versions import version

_VERSIONS = ("textcnn-service", "litserve", "torch", "tokenizers")


def info(gateway: Gateway, limits: Limits, trusted: bool = True) -> dict[str, object]:
    """The body of `/info`: the first model stands by itself too, as if it were alone.

    The examples, which are somebody's texts, are for those alone who may classify: `trusted`.
    """
    first = gateway.answering[0].hello
    return {
        "model": first.model,
        "problem_type": first.problem_type,
        "labels": first.labels,
        "examples": first.examples if trusted else [],
        "limits": vars(limits) | {"max_length": first.max_length},
        "versions": {name: version(name) for name in _VERSIONS},
        "workers": [
            {"pid": hello.pid, "device": hello.device, "folded_bytes": hello.folded_bytes, "model": hello.model["name"]}
            for hello in gateway.hellos
        ],
        "models": [
            {
                **pool.hello.model,
                "problem_type": pool.hello.problem_type,
                "labels": pool.hello.labels,
                "examples": pool.hello.examples if trusted else [],
                "max_length": pool.hello.max_length,
                "precision": pool.hello.precision,
                "windows": pool.hello.windows,
                "shadow": pool not in gateway.answering,
            }
            for pool in gateway.pools
        ],
    }


def gauges(gateway: Gateway) -> str:
    """What is no sum over processes: every API process sees the same workers."""
    hellos = gateway.hellos
    lines = ["# HELP textcnn_workers_ready Workers that are ready.", "# TYPE textcnn_workers_ready gauge"]
    lines.append(f"textcnn_workers_ready {len(hellos)}")
    lines += ["# HELP textcnn_model_info Checkpoint that is served.", "# TYPE textcnn_model_info gauge"]
    for name, revision in dict.fromkeys((hello.model["name"], hello.model["revision"]) for hello in hellos):
        lines.append(f'textcnn_model_info{{name="{label(name)}",revision="{revision}"}} 1')
    return "\n".join((*lines, ""))
