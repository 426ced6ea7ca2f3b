"""A search for settings: its space, what it proposes next, and the file from which an interrupted one goes on."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from model.errors import InputError, UnwritableError

Settings = dict[str, Any]

SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(2e-4, 2e-2, log=True),
    "num_train_epochs": IntDistribution(2, 16),
    "num_filters": CategoricalDistribution((64, 128, 256, 512)),
    "kernel_sizes": CategoricalDistribution(("1 2", "1 2 3", "1 2 3 4", "2 3 4", "3 4 5", "1 2 3 4 5 6")),
    "dropout": FloatDistribution(0.1, 0.7, step=0.1),
    "tokenizer": CategoricalDistribution(("wordpiece", "word", "bpe", "char")),
}


@dataclass
class Search:
    """Finished trials and spent seconds, kept in a file: who is killed loses neither."""

    path: Path
    question: dict[str, Any]  # what is searched in which data; who goes on must ask the same
    budget: float  # s
    metric: str
    higher_is_better: bool
    seed: int
    seconds: float = 0.0  # spent
    trials: list[dict[str, Any]] = field(default_factory=list)  # settings, metric (None: no training) and seconds

    def __post_init__(self) -> None:
        self._mark = time.monotonic()  # s, until when time is spent

    def resume(self) -> None:
        """Take over what the file knows; raises `InputError` if it is of another search."""
        known = json.loads(self.path.read_text(encoding="utf-8"))
        for name, now in self.question.items():
            then = known["question"].get(name)
            if then != now:
                raise InputError(
                    f"resume_from_checkpoint: the search in {str(self.path.parent)!r} is of other data or settings: "
                    f"{name} was {then!r}, is {now!r}"
                )
        self.seconds, self.trials = known["seconds"], known["trials"]

    def spend(self) -> bool:
        """Count the time since the last call; whether the budget is used up."""
        now = time.monotonic()
        self.seconds, self._mark = self.seconds + now - self._mark, now
        self._save()
        return self.seconds >= self.budget

    def add(self, settings: Settings, value: float | None) -> bool:
        """A finished trial, a `value` that is no number being the worst; whether the budget is used up."""
        known = value if value is not None and math.isfinite(value) else None
        before = sum(trial["seconds"] for trial in self.trials)
        seconds = round(self.seconds + time.monotonic() - self._mark - before, 1)
        self.trials.append({"trial": len(self.trials), **settings, self.metric: known, "seconds": seconds})
        return self.spend()

    @property
    def best(self) -> int:
        """Number of the best trial; of equal ones the first."""
        sign = 1 if self.higher_is_better else -1
        scores = [-math.inf if trial[self.metric] is None else sign * trial[self.metric] for trial in self.trials]
        return scores.index(max(scores))

    def propose(self, given: Settings) -> Settings:
        """Settings for the next trial, first those `given`.

        A function of the trials and the seed alone: a search that was interrupted goes on as if it had not been.
        """
        if not self.trials:
            return dict(given)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            direction="maximize" if self.higher_is_better else "minimize",
            sampler=TPESampler(seed=self.seed + len(self.trials)),
        )
        study.add_trials([self._past(trial, given) for trial in self.trials])
        return study.ask({name: SPACE[name] for name in given}).params

    def _past(self, trial: Mapping[str, Any], names: Settings) -> FrozenTrial:
        """A finished trial as Optuna knows it; settings beyond the space, which only the first may have, left out."""
        known = {name: trial[name] for name in names if _is_in(SPACE[name], trial[name])}
        value = trial[self.metric]
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        return create_trial(state=state, value=value, params=known, distributions={name: SPACE[name] for name in known})

    def _save(self) -> None:
        content = {"question": self.question, "seconds": self.seconds, "trials": self.trials}
        beside = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(exist_ok=True)
            beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            beside.replace(self.path)
        except OSError as error:
            raise UnwritableError(f"output_dir: cannot write {str(self.path)!r}: {error.strerror}") from error


def _is_in(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:  # none of the choices
        return False
