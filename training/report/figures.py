"""The figures of a report as PNG. No text of the data is drawn: a font may lack its characters."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from training.abstention import risk_coverage
from training.report.record import Outcomes
from training.targets import MULTI, REGRESSION, SINGLE

CAPTIONS = {
    "curves": "Loss and metrics of the filters alone by epoch; the dotted line is the epoch that was kept.",
    "confusions": "True classes (rows) and answers (columns) in the order of the labels, as shares of the true class.",
    "reliability": "Share of right answers by score, before and after calibration; the diagonal is perfect.",
    "coverage": "Error on the texts answered, when only the most certain ones are; the dot is the rule to abstain.",
    "numbers": "Answer against truth, and the distribution of the error.",
    "lengths": "Tokens of the training texts; what stands right of the line is cut off.",
}
FIGURES = {
    SINGLE: ("curves", "confusions", "reliability", "coverage", "lengths"),
    MULTI: ("curves", "reliability", "lengths"),
    REGRESSION: ("curves", "numbers", "lengths"),
}
_BLUE, _ORANGE, _GREY, _INK = "#2563eb", "#ea7317", "#94a3b8", "#334155"
_COLOURS = (_BLUE, "#0d9488", "#9333ea", "#be185d")
_DOTS_PER_INCH = 160
_POINTS = 500  # of a curve, and
_DOTS = 5000  # of a cloud, that are drawn at most


def curves(history: Sequence[Mapping[str, float]], best_epoch: float | None) -> Figure:
    """Loss of training and validation texts at the left, the other metrics at the right."""
    figure, (left, right) = _figure(2)
    _curve(left, history, "loss", "training", _ORANGE)
    _curve(left, history, "eval_loss", "validation", _BLUE)
    names = sorted({name for log in history for name in log if name.startswith("eval_")} - {"eval_loss"})
    for name, colour in zip(names, _COLOURS, strict=False):
        _curve(right, history, name, name.removeprefix("eval_"), colour)
    for axes, title in ((left, "Loss"), (right, "Validation")):
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.ticklabel_format(axis="y", useOffset=False)
        if best_epoch is not None:
            axes.axvline(best_epoch, color=_GREY, linestyle=":")
        axes.set_xlim(left=0)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    return figure


def confusions(matrix: NDArray[np.int64]) -> Figure:
    """A square for each pair of classes, darker the more often it occurs."""
    figure, (axes,) = _figure(1, width=5.2, height=4.6)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)  # (C, C)
    image = axes.imshow(shares**0.5, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set(title="Confusions", xlabel="answer (class number)", ylabel="truth (class number)")
    axes.grid(visible=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    bar = figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    bar.set_ticks(
        [share**0.5 for share in (0, 0.01, 0.05, 0.2, 0.5, 1)], labels=["0", "1 %", "5 %", "20 %", "50 %", "100 %"]
    )
    return figure


def reliability(moments: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Two panels, before and after calibration: bars of accuracy by score, and how many answers each holds."""
    figure, panels = _figure(2)
    for axes, (moment, bins) in zip(panels, moments.items(), strict=True):
        counts, accuracy = np.array(bins["counts"]), np.array(bins["accuracy"])
        width = 1 / len(counts)
        centre = (np.arange(len(counts)) + 0.5) * width
        filled = counts > 0
        axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="perfect")
        axes.bar(centre[filled], accuracy[filled], width * 0.9, color=_BLUE, alpha=0.85, label="share right")
        axes.step(centre, counts / counts.max(), where="mid", color=_ORANGE, linewidth=1.2, label="answers (relative)")
        axes.set(title=f"{moment.capitalize()} calibration", xlabel="score", xlim=(0, 1), ylim=(0, 1.02))
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
    return figure


def coverage(splits: Mapping[str, Outcomes], threshold: float | None) -> Figure:
    """Error by share of texts answered, with a dot where the rule to abstain stands."""
    figure, (axes,) = _figure(1, width=5.6, height=3.6)
    for (name, outcomes), colour in zip(splits.items(), (_GREY, _BLUE), strict=False):
        is_right = np.array(outcomes.answers) == np.array(outcomes.targets)
        answered, risk = risk_coverage(outcomes.certainties, is_right)
        shown = np.unique(np.linspace(0, len(risk) - 1, _POINTS).astype(int))
        axes.plot(answered[shown], risk[shown], color=colour, label=name)
        accepted = 0 if threshold is None else int((outcomes.certainties >= threshold).sum())
        if accepted:
            axes.plot(answered[accepted - 1], risk[accepted - 1], "o", color=colour)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(title="Risk and coverage", xlabel="texts answered", ylabel="error on them", xlim=(0, 1.02))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    return figure


def numbers(outcomes: Outcomes) -> Figure:
    """Answers against truth, and a histogram of their difference."""
    figure, (left, right) = _figure(2)
    truth, answer = np.array(outcomes.targets), np.array(outcomes.answers)
    dots = slice(None, None, max(1, len(truth) // _DOTS))
    left.scatter(truth[dots], answer[dots], s=8, alpha=0.4, color=_BLUE, linewidths=0)
    ends = [truth.min(), truth.max()]
    left.plot(ends, ends, color=_GREY, linestyle=":")
    left.set(title="Answers", xlabel="truth", ylabel="answer")
    right.hist(answer - truth, bins=40, color=_BLUE)
    right.set(title="Errors", xlabel="answer - truth", ylabel="texts")
    return figure


def lengths(histogram: Mapping[str, Any]) -> Figure:
    """Bars of training texts by tokens, and the length that they are cut to."""
    figure, (axes,) = _figure(1, width=5.6, height=3.4)
    width, limit = histogram["width"], histogram["max_length"]
    start = np.arange(len(histogram["counts"])) * width
    axes.bar(start, histogram["counts"], width, align="edge", color=np.where(start >= limit, _ORANGE, _BLUE))
    axes.axvline(limit, color=_INK, linestyle=":", label=f"max_length {limit}")
    axes.set(title="Length of the training texts", xlabel="tokens", ylabel="texts")
    axes.legend(frameon=False, fontsize=8)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def _figure(panels: int, width: float = 10, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    found = [figure.add_subplot(1, panels, index + 1) for index in range(panels)]
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_GREY)
        axes.tick_params(colors=_INK, labelsize=8)
        axes.grid(color="#e2e8f0", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.title.set_fontsize(10)
    return figure, found


def _curve(axes: Axes, history: Sequence[Mapping[str, float]], name: str, label: str, colour: str) -> None:
    points = [(log["epoch"], log[name]) for log in history if name in log]
    if points:
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color=colour, label=label)
