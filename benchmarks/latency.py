"""Time of a forward pass, and from text to label, on one torch thread, beside the dense network, a pipeline, fastText.

python -m benchmarks.latency --data FOLDER [--checkpoints FOLDER] [--seconds 5]

Of a batch, a second thread of ours classifies one half. fastText stands in the table where
it is installed: pip install -r benchmarks/requirements.txt.

`--data` holds one folder a data set with train.jsonl, validation.jsonl and test.jsonl; `--checkpoints` one trained
checkpoint a set, of the same name. One that is missing is trained for an epoch. Writes benchmarks/results/latency.json
and prints tables.
"""

import argparse
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, TextClassificationPipeline, pipeline

from benchmarks.alternation import alternate
from benchmarks.environment import describe
from model.checkpoint import read_config, read_network, read_tokenizer
from model.classifier import TextClassifier
from model.encoding import encode_batch, right_padded
from model.folding import FoldedTextCnn
from model.modeling_textcnn import TextCnnForSequenceClassification
from model.network_textcnn import TextCnn, TextCnnShape
from model.tokenizer import train_tokenizer

RESULTS = Path(__file__).parent / "results" / "latency.json"
FORWARD = TextCnnShape(vocab_size=20_000, embedding_dim=300, kernel_sizes=(2, 3, 4), num_filters=100, max_length=512)
FORWARD_SET = "ag_news"  # whose texts give the ids of the forward passes
SETS = ("trec6", "thucnews_title")  # whose test texts are classified
SIZES = ((1, 16), (1, 32), (8, 32), (32, 32), (64, 64), (1, 512))  # texts x tokens
BATCH_TEXTS, PIPELINE_BATCH = 256, 32

# B texts, L tokens.


def main() -> None:
    """Measure, write the results, print the tables."""
    arguments = _parse()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread for everyone, tokenizers included
    torch.set_num_threads(1)
    with torch.inference_mode(), tempfile.TemporaryDirectory() as scratch:
        forward = measure_forward(read_texts(arguments.data / FORWARD_SET / "train.jsonl"), arguments.seconds)
        texts = []
        for name in SETS:
            folder = _checkpoint(arguments, name, Path(scratch))
            has_peer = importlib.util.find_spec("fasttext") is not None
            peer = FastText(arguments.data / name / "train.jsonl", Path(scratch)) if has_peer else None
            texts.append(
                measure_texts(folder, peer, read_texts(arguments.data / name / "test.jsonl"), arguments.seconds)
            )
    results = {
        "environment": describe(f"python -m benchmarks.latency --data FOLDER --seconds {arguments.seconds:g}"),
        "forward": forward,
        "texts": texts,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(forward_table(forward), text_table(texts), sep="\n\n")


def measure_forward(texts: list[str], seconds: float) -> list[dict[str, Any]]:
    """Dense and folded network of the same random weights on ids of real texts, and the time to read the rows alone."""
    torch.manual_seed(0)
    dense = TextCnn(FORWARD, 10).eval().requires_grad_(False)
    folded = FoldedTextCnn(dense)
    ids = token_stream(texts)
    rows = torch.randn(FORWARD.vocab_size, sum(FORWARD.kernel_sizes) * FORWARD.num_filters)
    candidates = {
        "dense": lambda batch: dense(batch[0], torch.ones_like(batch[0])),
        "folded": lambda batch: folded(batch[1]),
        # One sum of all: nothing but the bytes that any such network has to gather.
        "floor": lambda batch: torch.embedding_bag(rows, batch[0].flatten(), torch.zeros(1, dtype=torch.int32)),
    }
    found = []
    for count, length in SIZES:
        timings = alternate(candidates, partial(slices, ids, count, length), seconds)
        found.append({"texts": count, "tokens": length, **timings})
        print(found[-1], file=sys.stderr)
    return found


def token_stream(texts: list[str]) -> Tensor:
    """The ids of all texts one after the other, of a vocabulary that they train."""
    tokenizer = train_tokenizer(texts, "wordpiece", FORWARD.vocab_size).backend_tokenizer
    encodings = encode_batch(tokenizer, texts, None, "right")
    return torch.tensor(list(chain.from_iterable(each.ids for each in encodings)), dtype=torch.int32)


class FastText:
    """fastText with bigrams, trained on the same texts: the fastest peer.

    Chinese is cut into characters, which costs it time as it costs everyone. Its Python `predict` fails on NumPy 2, so
    what that calls is called here.
    """

    def __init__(self, train_file: Path, scratch: Path) -> None:
        path = scratch / "fasttext.txt"
        with train_file.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        self._is_chinese = any("\u4e00" <= letter <= "\u9fff" for letter in rows[0]["text"])
        path.write_text("".join(f"__label__{row['label']} {self._words(row['text'])}\n" for row in rows), "utf-8")
        from fasttext import train_supervised  # here: what is installed without it measures the others

        self._model = train_supervised(str(path), wordNgrams=2, epoch=5, thread=1, verbose=0).f

    def one(self, text: str) -> object:
        """Label and probability of a text."""
        return self._model.predict(self._words(text) + "\n", 1, 0.0, "strict")

    def many(self, texts: Sequence[str]) -> object:
        """Those of each text."""
        return self._model.multilinePredict([self._words(text) + "\n" for text in texts], 1, 0.0, "strict")

    def _words(self, text: str) -> str:
        return " ".join(text) if self._is_chinese else text


def measure_texts(folder: Path, fast: FastText | None, texts: list[str], seconds: float) -> dict[str, Any]:
    """From text to label with a trained checkpoint: one text at a time, and in batches."""
    ours = TextClassifier.from_pretrained(folder, "cpu", folding="on")
    dense = TextClassifier.from_pretrained(folder, "cpu", folding="off")
    peer, tokenizer = _pipeline(folder), read_tokenizer(folder, read_config(folder))
    tokenize = partial(_tokenize, tokenizer, ours.max_length)
    single: dict[str, Callable[[str], object]] = {
        "ours": lambda text: ours([text]),
        "ours_dense": lambda text: dense([text]),
        "pipeline": peer,
        "tokenizer": lambda text: tokenize([text]),
    }
    batched: dict[str, Callable[[list[str]], object]] = {
        "ours": ours,
        "ours_dense": dense,
        "tokenizer": tokenize,
        "pipeline": partial(peer, batch_size=PIPELINE_BATCH),
    }
    if fast:
        single["fasttext"], batched["fasttext"] = fast.one, fast.many
    draw = random.Random(0)
    found = {
        "data_set": folder.name,
        "folded_bytes": ours.folded_bytes,
        "exactness": compare_logits(folder, texts),
        "one_text": alternate(single, lambda: draw.choice(texts), seconds),
        "batch_256": alternate(batched, lambda: draw.sample(texts, BATCH_TEXTS), seconds),
    }
    print(found, file=sys.stderr)
    return found


def compare_logits(folder: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Largest difference between the logits of dense and folded network over all texts, and how many labels differ."""
    config = read_config(folder)
    dense, tokenizer = read_network(folder, config), read_tokenizer(folder, config)
    folded, difference, labels = FoldedTextCnn(dense), 0.0, 0
    for start in range(0, len(texts), BATCH_TEXTS):
        token_ids = _tokenize(tokenizer, config.max_length, texts[start : start + BATCH_TEXTS])
        input_ids, lengths = map(torch.from_numpy, right_padded(token_ids))  # (B, L), (B,)
        expected = dense(input_ids, torch.arange(input_ids.shape[1]) < lengths[:, None])
        found = folded(token_ids)
        difference = max(difference, float((found - expected).abs().max()))
        labels += int((found.argmax(dim=1) != expected.argmax(dim=1)).sum())
    return {"texts": len(texts), "largest_logit_difference": difference, "different_labels": labels}


def forward_table(rows: list[dict[str, Any]]) -> str:
    """One line a batch size."""
    lines = ["| texts × tokens | dense µs | folded µs | times faster | folded over floor |", "|---|---|---|---|---|"]
    for row in rows:
        dense, folded, floor = (row[name]["p50_us"] for name in ("dense", "folded", "floor"))
        size = f"{row['texts']} × {row['tokens']}"
        lines.append(f"| {size} | {dense:.0f} | {folded:.0f} | {dense / folded:.1f} | {folded / floor:.1f} |")
    return "\n".join(lines)


def text_table(rows: list[dict[str, Any]]) -> str:
    """Two lines a data set: one text at a time, and texts in batches, both in µs a text."""
    names = [
        name for name in ("ours", "ours_dense", "pipeline", "tokenizer", "fasttext") if name in rows[0]["one_text"]
    ]
    columns = ["set", "texts at a time", *(f"{name} µs" for name in names), "ours to pipeline"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        for kind, count in (("one_text", 1), ("batch_256", BATCH_TEXTS)):
            each = [row[kind][name]["p50_us"] / count for name in names]
            cells = " | ".join(f"{value:.1f}" for value in each)
            lines.append(f"| {row['data_set']} | {count} | {cells} | {each[2] / each[0]:.1f} times faster |")
    return "\n".join(lines)


def slices(ids: Tensor, count: int, length: int) -> tuple[Tensor, list[list[int]]]:
    """Pieces (B, L) from anywhere in the stream of ids, and the same as lists."""
    starts = torch.randint(len(ids) - length, (count, 1))
    batch = ids[starts + torch.arange(length)]
    return batch, batch.tolist()


def _tokenize(tokenizer: Any, max_length: int, texts: Sequence[str]) -> list[list[int]]:
    return [encoding.ids for encoding in encode_batch(tokenizer, texts, max_length, "right")]


def _pipeline(folder: Path) -> TextClassificationPipeline:
    network = TextCnnForSequenceClassification.from_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    return pipeline("text-classification", model=network, tokenizer=tokenizer, device="cpu")


def _checkpoint(arguments: argparse.Namespace, name: str, scratch: Path) -> Path:
    """The given checkpoint of a data set, or one of the default shape, trained for one epoch."""
    if arguments.checkpoints and (arguments.checkpoints / name / "config.json").is_file():
        return Path(arguments.checkpoints / name)
    folder = scratch / name
    files = [f"--{split}_file={arguments.data / name / split}.jsonl" for split in ("train", "validation")]
    command = [sys.executable, "-m", "training", *files, f"--output_dir={folder}", "--num_train_epochs=1"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return folder


def read_texts(path: Path) -> list[str]:
    """The texts of a file of JSON lines."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of data sets.")
    parser.add_argument("--checkpoints", type=Path, help="Folder of trained checkpoints, one a data set.")
    parser.add_argument("--seconds", type=float, default=5, help="For each line of a table, all candidates together.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
