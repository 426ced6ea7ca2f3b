"""The table of `benchmarks.accuracy`: mean and deviation over the seeds, peers and published figures beside."""

import statistics
from collections.abc import Iterable
from typing import Any

Run = dict[str, Any]

# Test accuracy in % (GoEmotions: macro-F1) with its source. Not on the same rows where it says so.
KIM = "Kim 2014, Table 2: CNN-rand / best"
PUBLISHED = {
    "mr": f"76.1 / 81.5 ({KIM}, 10-fold)",
    "sst2": f"82.7 / 88.1 ({KIM}, trained on all phrases)",
    "subj": f"89.6 / 93.4 ({KIM}, 10-fold)",
    "trec6": f"91.2 / 93.6 ({KIM})",
    "clinc150": "CNN 91.2, BERT 96.9 (Larson et al. 2019)",
    "ag_news": "word CNN 91.4 (Zhang et al. 2015, 120,000 rows)",
    "thucnews_title": "TextCNN 91.2 (649453932/Chinese-Text-Classification-Pytorch, 180,000 rows)",
    "goemotions": "BERT 50.3 (monologg/GoEmotions-pytorch)",
}
HEADER = (
    "| data set | flags | test, % | with typos, % | ECE | fastText, with typos | linear, with typos | published "
    "| training s: ours / fastText |"
)


def table(runs: Iterable[Run]) -> str:
    """One line for each data set and the flags that it was trained with."""
    by_row: dict[tuple[str, str], list[Run]] = {}
    peers: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run["system"] == "textcnn":
            by_row.setdefault((run["data_set"], run["flags"]), []).append(run)
        else:
            peers.setdefault((run["data_set"], run["system"]), []).append(run)
    lines = [HEADER, "|---" * (HEADER.count("|") - 1) + "|"]
    for (name, flags), ours in sorted(by_row.items()):
        fast, linear = peers.get((name, "fasttext"), []), peers.get((name, "linear"), [])
        cells = [name, f"`{flags}`" if flags else "", _accuracy(ours), _percent(_typos(ours)), _error(ours)]
        cells += [f"{_accuracy(peer)}, {_percent(_typos(peer))}" if peer else "" for peer in (fast, linear)]
        cells += [PUBLISHED.get(name, ""), _times(ours, fast)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _accuracy(runs: list[Run]) -> str:
    metrics = runs[0]["test"]
    names = ["accuracy"] if "accuracy" in metrics else [name for name in metrics if name.startswith("f1")]
    shown = [_percent([run["test"][name] for run in runs]) for name in names]
    if names == ["accuracy"]:
        return shown[0]
    return ", ".join(f"{name} {value}" for name, value in zip(names, shown, strict=True))


def _typos(runs: list[Run]) -> list[float]:
    return [run["typos_accuracy"] for run in runs if "typos_accuracy" in run]


def _error(runs: list[Run]) -> str:
    """Expected calibration error on the test texts."""
    errors = [run["calibration"]["test"]["after"]["ece"] for run in runs if "test" in run.get("calibration", {})]
    return f"{statistics.mean(errors):.3f}" if errors else ""


def _times(ours: list[Run], fast: list[Run]) -> str:
    """Of the fastest run of each: what else runs on the machine can only slow one down."""
    seconds = min(run["train_seconds"] for run in ours)
    if not fast:
        return f"{seconds:.0f}"
    peer = min(run["train_seconds"] for run in fast)
    return f"{seconds:.0f} / {peer:.1f} = {seconds / peer:.1f}"


def _percent(values: list[float]) -> str:
    """Mean ± standard deviation in percent, and of how many runs if it is one alone."""
    if not values:
        return ""
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean} (1 seed)"
