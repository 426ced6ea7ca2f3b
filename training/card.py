"""The model card: README.md of a checkpoint, for whoever finds it later."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.card_sections import abstention_section, calibration_section, distillation_section
from training.markdown import table
from training.metrics import METRICS
from training.report.figures import CAPTIONS, FIGURES
from training.targets import MULTI, REGRESSION, SINGLE

_TASKS = {
    SINGLE: "one class for each text",
    MULTI: "any number of classes for each text",
    REGRESSION: "a number for each text",
}
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")  # or read as something else
_LISTED_LABELS = 50  # rows of the table of labels

_TEMPLATE = """\
---
library_name: transformers
pipeline_tag: text-classification
tags:
- text-cnn
- text-classification
{widget}---

# {name}

A text CNN (Kim 2014, [arXiv:1408.5882](https://arxiv.org/abs/1408.5882)) that gives {task}:
{parameters:,} parameters, a vocabulary of {vocabulary:,} tokens, texts of up to {max_length} tokens.

## Results

{results}

{decided} The test texts, where there are any, had no say.
{calibration}{abstention}{distillation}

## Figures

{figures}

`report.html` has these and more: every class, confusions, mistakes with their evidence, checks of the data.

## Data

{splits}

{labels}

## Use

As an HTTP service:

```bash
textcnn-serve --checkpoint {in_shell}
curl http://127.0.0.1:8000/predict -H 'Content-Type: application/json' -d '{{"inputs": "a text to classify"}}'
```

In Python:

```python
from model.classifier import TextClassifier

classifier = TextClassifier.from_pretrained({in_python})
print(classifier(["a text to classify"]))
```

With transformers alone:

```python
from transformers import pipeline

classifier = pipeline("text-classification", model={in_python}, trust_remote_code=True{pipeline_options})
print(classifier("a text to classify"))
```

## Training

{settings}

{epochs} on {device} in {seconds:.1f} s{since}, {samples_per_second:,.0f} texts per second.
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
        in_shell=shlex.quote(str(folder)),
        in_python=json.dumps(str(folder), ensure_ascii=False),  # a literal of Python too, in double quotes
        task=_TASKS[problem_type],
        widget=_widget(data["examples"]),
        results=_results(summary, problem_type),
        calibration=calibration_section(summary),
        abstention=abstention_section(summary),
        distillation=distillation_section(summary),
        figures="\n\n".join(f"![{CAPTIONS[name]}](report-{name}.png)" for name in FIGURES[problem_type]),
        splits=table(
            ["split", "texts", "source"],
            [(name, split["texts"], split["source"]) for name, split in data["splits"].items()],
        ),
        labels=_labels(data["labels"], problem_type),
        settings=_settings(arguments),
        limit=_LIMITS[problem_type],
        pipeline_options=_PIPELINE_OPTIONS[problem_type],
        window=arguments["model"]["dilation"] * (max(arguments["model"]["kernel_sizes"]) - 1) + 1,
        decided=_decided(summary),
        epochs=_epochs(train),
        since=_since(train["resumed_at_step"]),
        **{name: data[name] for name in ("parameters", "vocabulary", "max_length", "truncated_share")},
        **{name: train[name] for name in ("device", "seconds", "samples_per_second")},
    )


def _widget(examples: list[str]) -> str:
    """Texts to try, as the Hugging Face hub shows them, in quotation marks that JSON and YAML have in common."""
    quoted = [_NOT_YAML.sub(_escaped, json.dumps(text, ensure_ascii=False)) for text in examples]
    lines = [f"- text: {text}\n" for text in quoted]
    return "".join(["widget:\n", *lines]) if lines else ""


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _results(summary: Mapping[str, Any], problem_type: str) -> str:
    names = (*METRICS[problem_type], "loss")
    rows = [
        (split, *(f"{summary[split][name]:.4f}" for name in names))
        for split in ("validation", "test")
        if split in summary
    ]
    return table(["split", *names], rows)


def _labels(counts: Mapping[str, int], problem_type: str) -> str:
    if problem_type == REGRESSION:
        return f"The number is the column `{next(iter(counts))}`."
    shown = sorted(counts.items(), key=lambda item: -item[1])[:_LISTED_LABELS]
    rest = len(counts) - len(shown)
    more = f"\n\n{rest} more classes are in `config.json`." if rest else ""
    return table(["class", "training texts"], shown) + more


def _settings(arguments: Mapping[str, Mapping[str, Any]]) -> str:
    model, training = arguments["model"], arguments["training"]
    names = ("tokenizer", "embedding_mode", "vectors", "kernel_sizes", "num_filters", "dropout")
    rows: list[tuple[str, Any]] = [(name, model[name]) for name in names if model[name] is not None]
    rows += [(name, training[name]) for name in ("learning_rate", "per_device_train_batch_size", "seed")]
    return table(["setting", "value"], rows)


def _since(step: int | None) -> str:
    return "" if step is None else f" after step {step:,}, where it was resumed"


def _decided(summary: Mapping[str, Any]) -> str:
    """What the validation texts were used for, which makes figures on them too good."""
    train = summary["train"]
    decisions = {
        "which epoch was kept": train["best_epoch"] is not None,
        "the weight of the linear part": bool(train["linear_part_weight"]),
        "the temperature": summary.get("calibration"),
        "when to abstain": summary.get("abstention"),
    }
    made = [decision for decision, is_made in decisions.items() if is_made]
    if not made:
        return "The validation texts decided nothing."
    listed = " and ".join(filter(None, [", ".join(made[:-1]), made[-1]]))
    return f"The validation texts decided {listed}, so they flatter."


def _epochs(train: Mapping[str, Any]) -> str:
    best = train["best_epoch"]
    return f"{train['epochs']:.3g} epochs" + (f", the one after {best:.3g} kept," if best is not None else "")
