"""The linear part of a classifier, learnt once its filters are, and how much it is to weigh beside them.

Both parts learn alone: in one loss on their sum the filters, which learn the training texts by heart, would leave
little to explain for the linear part.
"""

import logging
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers.trainer_utils import PredictionOutput

from model.bigrams_textcnn import Bigrams, neighbours
from model.network_textcnn import TextCnn
from training.calibration import calibration_metrics, fit_temperature
from training.features import TokenTensors
from training.objective import Objective
from training.optimizers import RowAdagrad
from training.preparation import Prepared
from training.targets import SINGLE

logger = logging.getLogger(__name__)

EPOCHS, BATCH = 4, 256
RATE = 0.1  # of Adagrad at the start; it falls to 0
PRIOR = 0.5  # times the log-ratios of naive Bayes is what learning starts from
SMOOTHING = 2.0  # occurrences of each row, shared by the classes as the texts are; more where there are many classes
LARGEST = 2**26  # numbers in the table: 256 MB
BLOCK, CANDIDATES = 2**20, 2**22  # tokens whose pairs are counted together, pairs whose counts are kept: 64 MB
WEIGHTS = np.linspace(0, 0.95, 20)  # of the linear part that are tried; that of the filters is the rest

# N texts, B texts of a batch, n rows of all its texts, R rows of the table, C classes.


def add_bigrams(
    prepared: Prepared, answers: Mapping[str, PredictionOutput], objective: Objective, most: int, seed: int
) -> tuple[dict[str, PredictionOutput], float]:
    """Give the network a linear part with `most` pairs or fewer, and `answers`, logits by split, what it says.

    Its weight, which is returned too, makes the validation labels likeliest; where that is 0, the network stays as it
    is.
    """
    network, splits = prepared.network.network, prepared.splits()
    config = network.config
    classes = network.classifier.out_features
    most = min(most, LARGEST // classes - config.vocab_size - 1)
    if most < 1:
        logger.info("no linear part: a table of %d tokens and %d classes is too large", config.vocab_size, classes)
        return dict(answers), 0.0
    pairs = frequent_pairs(network, prepared.train, most)
    bigrams = Bigrams(config.vocab_size, len(pairs), config.pad_token_id, classes)
    bigrams.known[:-1] = pairs
    learn(bigrams, network, prepared.train, objective, seed)
    found = {name: given(bigrams, network, split) for name, split in splits.items()}
    logits = {name: np.asarray(answer.predictions) for name, answer in answers.items()}
    targets = np.asarray(answers["validation"].label_ids)
    weight = choose_weight(logits["validation"], found["validation"], targets)
    logger.info("the linear part weighs %.0f %%", 100 * weight)
    if not weight:
        return dict(answers), 0.0
    attach(network, bigrams, weight)
    both = {
        name: _replaced(answer, (1 - weight) * logits[name] + weight * found[name], objective)
        for name, answer in answers.items()
    }
    return both, weight


def attach(network: TextCnn, bigrams: Bigrams, weight: float) -> None:
    """Let `network` answer with the mean of its logits and those of `bigrams`, which weigh `weight`."""
    with torch.no_grad():
        network.classifier.weight.mul_(1 - weight)
        network.classifier.bias.mul_(1 - weight)
        bigrams.weight.mul_(weight)
    network.bigrams = bigrams.to(network.classifier.weight)
    network.config.num_bigrams = bigrams.num_bigrams


def frequent_pairs(network: TextCnn, texts: TokenTensors, most: int) -> Tensor:
    """The `most` pairs of neighbours that are most frequent in the texts, or all of them, in ascending order (N,).

    Of texts without end only `CANDIDATES` pairs are remembered from block to block, so a rare one may be missed.
    """
    config = network.config
    known = counts = torch.empty(0, dtype=torch.long)
    for block in torch.arange(len(texts)).split(max(1, BLOCK // config.max_length)):
        found = [known]
        for batch in block.split(BATCH):
            input_ids, lengths, _ = _compact(network, texts, batch)
            _, pairs, is_pair = neighbours(input_ids, lengths, config.vocab_size, config.pad_token_id)
            found.append(pairs[is_pair])
        distinct, place = torch.cat(found).unique(return_inverse=True)
        times = torch.ones_like(place)
        times[: len(known)] = counts
        counts = torch.zeros_like(distinct).index_add_(0, place, times)
        kept = _largest(counts, max(most, CANDIDATES))
        known, counts = distinct[kept], counts[kept]
    return known[_largest(counts, most)]


def learn(bigrams: Bigrams, network: TextCnn, texts: TokenTensors, objective: Objective, seed: int) -> None:
    """Learn the rows from labelled texts, on the CPU, in the same order for the same seed."""
    with torch.no_grad():
        bigrams.weight.copy_(PRIOR * log_ratios(bigrams, network, texts))
    generator, optimizer = torch.Generator().manual_seed(seed), RowAdagrad(bigrams.parameters(), RATE)
    batches = [batch for _ in range(EPOCHS) for batch in torch.randperm(len(texts), generator=generator).split(BATCH)]
    for step, batch in enumerate(batches):
        rows, starts, labels = _read(bigrams, network, texts, batch)
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / len(batches))
        objective({"logits": _logits(bigrams, rows, starts)}, labels).backward()
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def given(bigrams: Bigrams, network: TextCnn, texts: TokenTensors) -> NDArray[np.float32]:
    """The logits of the linear part alone (N, C)."""
    read = (_read(bigrams, network, texts, batch)[:2] for batch in _in_order(texts))
    logits: NDArray[np.float32] = torch.cat([_logits(bigrams, *each) for each in read]).numpy()
    return logits


def choose_weight(filters: NDArray[Any], linear: NDArray[Any], targets: NDArray[Any]) -> float:
    """The weight of the linear logits (N, C) in the mean with those of the filters that makes the targets likeliest.

    The loss is convex in both parts' factors, so it has one minimum over the weights: halving finds it.
    """

    @cache
    def loss(weight: float) -> float:
        logits = ((1 - weight) * filters + weight * linear).astype(np.float64)
        temperature = fit_temperature(logits, targets, SINGLE)
        return calibration_metrics(logits / temperature, targets, SINGLE)["nll"]

    low, high = 0, len(WEIGHTS) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if loss(WEIGHTS[middle]) <= loss(WEIGHTS[middle + 1]) else (middle + 1, high)
    return float(WEIGHTS[low])


@torch.no_grad()
def log_ratios(bigrams: Bigrams, network: TextCnn, texts: TokenTensors) -> Tensor:
    """How much oftener each row is in texts of a class than in others (R, C), as a logarithm; 0 for rows of no text.

    That is naive Bayes. Each row is taken to have been in `SMOOTHING` more texts, of the classes as frequent as here;
    in more of them where there are more classes than texts of one, so that what a class lacks by chance says little.
    """
    rows, classes = bigrams.weight.shape
    inside, total, texts_of = torch.zeros(rows, classes), torch.zeros(rows, 1), torch.zeros(classes)
    for batch in _in_order(texts):
        found, starts, labels = _read(bigrams, network, texts, batch)
        owner = torch.searchsorted(starts, torch.arange(len(found)), right=True) - 1  # (n,)
        truth = functional.one_hot(labels, classes).float()  # (B, C)
        inside.index_add_(0, found, truth[owner])
        total.index_add_(0, found, torch.ones(len(found), 1))
        texts_of += truth.sum(dim=0)
    share = (texts_of + 1) / (len(texts) + 2)  # (C,), of the texts; neither 0 nor 1
    more = SMOOTHING * max(1.0, classes**2 / len(texts))
    ratios = ((inside + more * share) / share).log() - ((total - inside + more * (1 - share)) / (1 - share)).log()
    ratios[-1] = 0  # of unknown pairs
    return ratios


def _largest(counts: Tensor, most: int) -> Tensor:
    """Where the `most` largest counts stand, in order; of equal ones the first."""
    places: Tensor = counts.argsort(descending=True, stable=True)[:most].sort().values
    return places


def _logits(bigrams: Bigrams, rows: Tensor, starts: Tensor) -> Tensor:
    """Logits (B, C) of the rows of texts (n,), of which each text's begin at `starts` (B,)."""
    counts = torch.cat([starts, torch.tensor([len(rows)])]).diff()  # (B,)
    last = len(bigrams.weight) - 1  # that of unknown pairs, which neither says nor learns anything
    sums = functional.embedding_bag(rows, bigrams.weight, starts, mode="sum", sparse=True, padding_idx=last)
    return sums / counts[:, None].sqrt()


def _in_order(texts: TokenTensors) -> Iterator[Tensor]:
    return iter(torch.arange(len(texts)).split(BATCH))


def _read(bigrams: Bigrams, network: TextCnn, texts: TokenTensors, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of the texts of a batch one after the other (n,), where each text's begin (B,), and the labels."""
    input_ids, lengths, labels = _compact(network, texts, batch)
    rows, is_pair = bigrams.rows(input_ids, lengths)
    counts = 2 * (lengths + 1)  # (B,)
    return rows[is_pair].flatten(), counts.cumsum(0) - counts, labels


def _compact(network: TextCnn, texts: TokenTensors, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ids (B, L), lengths (B,) and labels of the texts of a batch, on the CPU."""
    columns = {name: column.cpu() for name, column in texts.__getitems__(batch).items()}
    return *network.compact(columns["input_ids"], columns["attention_mask"]), columns["labels"]


def _replaced(answer: PredictionOutput, logits: NDArray[Any], objective: Objective) -> PredictionOutput:
    """The answer with other logits (N, C), and with their loss."""
    loss = objective({"logits": torch.from_numpy(logits)}, torch.from_numpy(np.asarray(answer.label_ids)))
    return answer._replace(predictions=logits, metrics={**(answer.metrics or {}), "test_loss": float(loss)})
