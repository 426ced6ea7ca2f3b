"""Distillation: a student learns a teacher's logits beside the labels (Hinton et al. 2015, arXiv:1503.02531)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from model.errors import InputError
from training.augmentation import augment, words_of
from training.config import DataArguments
from training.config_training import TextCnnTrainingArguments
from training.data import TextData
from training.features import TokenTensors
from training.finetuning import finetune
from training.objective import Objective
from training.targets import REGRESSION, SINGLE, encode_targets
from training.teacher import Teacher
from training.tokens import TokenCache

# N texts, B texts of a batch, C classes.

TEMPERATURE = 2.0  # softens the probabilities of both
TEACHER_SHARE = 0.8  # of the loss of a text that has a label; of other texts it is all


@dataclass(frozen=True)
class Lesson:
    """What a teacher has to say."""

    name: str  # of the teacher, as it was given
    teacher: Teacher
    train: TokenTensors  # the training texts and those without labels, all with the teacher's logits
    logits: Mapping[str, NDArray[np.float32]]  # (N, C) for the texts of each split that is measured


class DistillationObjective(Objective):
    """Labels of training texts are (B, 2, C): the teacher's logits, and probabilities, NaN where nobody knows them."""

    def _sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        if labels.ndim < 3:  # an evaluation
            return super()._sum(logits, labels)
        teacher, truth = labels.unbind(dim=1)  # (B, C) each
        soft = TEMPERATURE**2 * self._soft(logits / TEMPERATURE, teacher / TEMPERATURE)  # (B,)
        hard = self._hard(logits, truth.nan_to_num())  # (B,)
        mixed = TEACHER_SHARE * soft + (1 - TEACHER_SHARE) * hard
        loss = torch.where(truth.isnan().any(dim=1), soft, mixed)
        return loss.sum() * labels.shape[1:].numel()  # it will be divided by all numbers of the labels

    def _soft(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.problem_type == SINGLE:
            return -(teacher.softmax(dim=1) * student.log_softmax(dim=1)).sum(dim=1)
        return functional.binary_cross_entropy_with_logits(student, teacher.sigmoid(), reduction="none").mean(dim=1)

    def _hard(self, logits: Tensor, truth: Tensor) -> Tensor:
        if self.problem_type == SINGLE:
            return functional.cross_entropy(logits, truth, reduction="none", label_smoothing=self.label_smoothing)
        return functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(dim=1)


def learn_from_teacher(
    data: TextData,
    train: TokenTensors,
    tokenizer: PreTrainedTokenizerFast,
    cache: TokenCache,
    arguments: DataArguments,
    training: TextCnnTrainingArguments,
) -> Lesson:
    """Let the teacher label training texts, unlabelled texts and augmented copies of both.

    Raises `InputError` for a teacher that does not fit the data, and for settings that need labels of every text.
    """
    _check(data, arguments, training)
    name = arguments.teacher or ""
    if arguments.finetune_teacher:
        name = str(finetune(name, data, arguments.teacher_epochs, cache.folder, training.device))
    teacher = Teacher.load(name, data.labels, training.device)
    own = [*data.train.texts, *data.unlabelled]
    alike = teacher.alike(words_of(own)) if arguments.augmented_copies else {}
    texts = own + augment(own, arguments.augmented_copies, alike)
    logits = {name: teacher.logits(split.texts, cache.folder) for name, split in data.measured().items()}
    taught = teacher.logits(texts, cache.folder)  # (N, C)
    labels = np.stack([taught, _known(data, len(texts))], axis=1)  # (N, 2, C)
    tokens = cache.tokenize(tokenizer, texts)
    return Lesson(arguments.teacher or "", teacher, TokenTensors(tokens, labels, train.layout), logits)


def _known(data: TextData, texts: int) -> NDArray[np.float32]:
    """Probabilities (N, C) by the labels; the training texts stand first, the others have none."""
    targets = encode_targets(data.train.targets, data.labels, data.problem_type)
    known = np.full((texts, len(data.labels)), np.nan, dtype=np.float32)
    known[: len(targets)] = np.eye(len(data.labels))[targets] if data.problem_type == SINGLE else targets
    return known


def _check(data: TextData, arguments: DataArguments, training: TextCnnTrainingArguments) -> None:
    if data.problem_type == REGRESSION:
        raise InputError("teacher: it teaches classes, the problem is regression")
    if arguments.finetune_teacher and training.world_size > 1:
        raise InputError("finetune_teacher trains in one process; train once without torchrun, the teacher is kept")
    if training.class_weights:
        raise InputError("class_weights weigh labels, most texts of a --teacher have none")
    if training.sampler == "weighted":
        raise InputError("sampler: weighted draws by labels, most texts of a --teacher have none")
