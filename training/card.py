"""The model card: README.md of a checkpoint, for whoever finds it later."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.data import OUT_OF_SCOPE
from training.metrics import METRICS
from training.targets import MULTI, REGRESSION, SINGLE

_TASKS = {
    SINGLE: "one class for each text",
    MULTI: "any number of classes for each text",
    REGRESSION: "a number for each text",
}
_CERTAINTIES = {
    "lead": "best logit's lead over the mean logit",
    "probability": "highest probability",
    "entropy": "negative entropy",
}
_CALIBRATION = {"nll": "NLL", "brier": "Brier", "ece": "ECE"}
_LISTED_LABELS = 50  # rows of the table of labels

_TEMPLATE = """\
---
library_name: transformers
pipeline_tag: text-classification
tags:
- text-cnn
- text-classification
---

# {name}

A text CNN (Kim 2014, [arXiv:1408.5882](https://arxiv.org/abs/1408.5882)) that gives {task}:
{parameters:,} parameters, a vocabulary of {vocabulary:,} tokens, texts of up to {max_length} tokens.

## Results

{results}

The validation texts decided which epoch was kept, so they flatter; the test texts, where there are any, had no say.
{calibration}{abstention}

## Data

{splits}

{labels}

## Use

As an HTTP service:

```bash
textcnn-serve --checkpoint {folder}
curl http://127.0.0.1:8000/predict -H 'Content-Type: application/json' -d '{{"inputs": "a text to classify"}}'
```

In Python:

```python
from model.classifier import TextClassifier

classifier = TextClassifier.from_pretrained("{folder}")
print(classifier(["a text to classify"]))
```

With transformers alone:

```python
from transformers import pipeline

classifier = pipeline("text-classification", model="{folder}", trust_remote_code=True{pipeline_options})
print(classifier("a text to classify"))
```

## Training

{settings}

{epochs} on {device} in {seconds:.1f} s, {samples_per_second:,.0f} texts per second.
`metrics.json` holds all settings and versions.

## Limits

- It knows the language, the subjects and the style of its training texts; elsewhere its answers mean little.
- {limit}
- Words are seen within windows of {window} tokens: what depends on a wider context is lost.
- Texts are cut to {max_length} tokens, which shortened {truncated_share:.1%} of the training texts.
"""

_LIMITS = {
    SINGLE: "A text that belongs to none of the classes gets one of them all the same; mind `abstained`.",
    MULTI: "Which classes apply is decided by thresholds, whatever a false alarm or a miss costs.",
    REGRESSION: "Nothing keeps a number within the range of the training data.",
}
_PIPELINE_OPTIONS = {SINGLE: "", MULTI: ", top_k=None", REGRESSION: ', function_to_apply="none"'}


def model_card(folder: Path, summary: Mapping[str, Any]) -> str:
    """Markdown with a YAML head for the checkpoint in `folder`, from the content of its metrics.json."""
    data, train, arguments = summary["data"], summary["train"], summary["arguments"]
    problem_type = data["problem_type"]
    return _TEMPLATE.format(
        name=folder.resolve().name,
        folder=folder,
        task=_TASKS[problem_type],
        results=_results(summary, problem_type),
        calibration=_calibration(summary.get("calibration")),
        abstention=_abstention(summary.get("abstention")),
        splits=_table(
            ["split", "texts", "source"],
            [(name, split["texts"], split["source"]) for name, split in data["splits"].items()],
        ),
        labels=_labels(data["labels"], problem_type),
        settings=_settings(arguments),
        limit=_LIMITS[problem_type],
        pipeline_options=_PIPELINE_OPTIONS[problem_type],
        window=max(arguments["model"]["kernel_sizes"]),
        epochs=_epochs(train),
        **{name: data[name] for name in ("parameters", "vocabulary", "max_length", "truncated_share")},
        **{name: train[name] for name in ("device", "seconds", "samples_per_second")},
    )


def _results(summary: Mapping[str, Any], problem_type: str) -> str:
    names = (*METRICS[problem_type], "loss")
    rows = [
        (split, *(f"{summary[split][name]:.4f}" for name in names))
        for split in ("validation", "test")
        if split in summary
    ]
    return _table(["split", *names], rows)


def _calibration(calibration: Mapping[str, Any] | None) -> str:
    if calibration is None:
        return ""
    rows = [
        (split, *(f"{calibration[split][moment][name]:.4f}" for name in _CALIBRATION for moment in ("before", "after")))
        for split in ("validation", "test")
        if split in calibration
    ]
    head = [f"{name} {moment}" for name in _CALIBRATION.values() for moment in ("before", "after")]
    return (
        f"\nScores are calibrated: logits are divided by {calibration['temperature']:.3f}, fitted on the validation "
        f"texts (Guo et al. 2017, arXiv:1706.04599).\n\n{_table(['split', *head], rows)}"
    )


def _abstention(abstention: Mapping[str, Any] | None) -> str:
    if abstention is None:
        return ""
    rows = []
    for split in ("validation", "test", *OUT_OF_SCOPE):
        figures = abstention.get(split, {})
        names = ("acceptance", "accuracy_of_accepted", "recall", "auroc")
        if figures:
            rows.append((split, *(f"{figures[name]:.4f}" if name in figures else "" for name in names)))
    head = ["split", "answered", "accuracy of these", "rejected", "AUROC"]
    return (
        f"\n\nIt abstains (`abstained`) where the {_CERTAINTIES[abstention['certainty']]} is below "
        f"{abstention['threshold']:.4g}.\n\n{_table(head, rows)}"
    )


def _labels(counts: Mapping[str, int], problem_type: str) -> str:
    if problem_type == REGRESSION:
        return f"The number is the column `{next(iter(counts))}`."
    shown = sorted(counts.items(), key=lambda item: -item[1])[:_LISTED_LABELS]
    rest = len(counts) - len(shown)
    more = f"\n\n{rest} more classes are in `config.json`." if rest else ""
    return _table(["class", "training texts"], shown) + more


def _settings(arguments: Mapping[str, Mapping[str, Any]]) -> str:
    model, training = arguments["model"], arguments["training"]
    names = ("tokenizer", "embedding_mode", "vectors", "kernel_sizes", "num_filters", "dropout")
    rows: list[tuple[str, Any]] = [(name, model[name]) for name in names if model[name] is not None]
    rows += [(name, training[name]) for name in ("learning_rate", "per_device_train_batch_size") if name in training]
    return _table(["setting", "value"], [*rows, ("seed", training.get("seed", "42"))])


def _epochs(train: Mapping[str, Any]) -> str:
    best = train["best_epoch"]
    return f"{train['epochs']:.3g} epochs" + (f", the one after {best:.3g} kept," if best is not None else "")


def _table(head: list[str], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
