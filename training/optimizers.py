"""Optimizers beside those of `Trainer`: Adam, Kim's Adadelta and max-norm, and two that update used rows only."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adadelta, Adam, Optimizer, SparseAdam
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from model.errors import InputError
from training.config_training import TextCnnTrainingArguments, optim_settings
from training.row_sums import coalesced
from training.subwords import SubwordEmbedding

# V tokens of the vocabulary, D channels.

# Of the embedding, from which on updating all of them costs more than finding the used ones.
SPARSE_ELEMENTS = {"cpu": 8_000_000, "cuda": 1 << 27}
ADAGRAD_RATE = 5.0  # times the learning rate of Adam; what it is worth: benchmarks/README.md


class RowAdagrad(Optimizer):
    """Adagrad with one step size a row, which shrinks from use to use (Naumov et al. 2019, arXiv:1906.00091).

    A row that is rarely used, as most n-grams are, makes long steps; there is one number to remember for each.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, eps: float = 1e-10) -> None:
        super().__init__(parameters, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the rows that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = coalesced(parameter.grad)
                rows, values = gradient.indices()[0], gradient.values()  # (U,), (U, D)
                state = self.state[parameter]
                if not state:
                    state["sum"] = parameter.new_zeros(len(parameter))  # (V,), of mean squared gradients
                norms = torch.linalg.vector_norm(values, dim=1)  # (U,)
                state["sum"].index_add_(0, rows, norms.square() / values.shape[1])
                size = state["sum"][rows].sqrt() + group["eps"]  # (U,)
                parameter.index_add_(0, rows, values / size[:, None], alpha=-group["lr"])


class RowSparse(Optimizer):
    """Two optimizers as one: `dense` for all parameters but the embedding, `rows` for its rows in the batch.

    What `rows` remembers of a row stays as it is while the row is not used, instead of decaying.
    """

    def __init__(self, dense: Optimizer, rows: Optimizer) -> None:  # no super().__init__: it would own parameters
        self._parts = {"dense": dense, "rows": rows}

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Those of both, whose learning rates a scheduler sets."""
        return [group for part in self._parts.values() for group in part.param_groups]

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """Those of `dense`, whose learning rate some schedulers end at a share of."""
        return self._parts["dense"].defaults

    @property
    def state(self) -> dict[Tensor, Any]:  # type: ignore[override]
        """What both remember of each parameter."""
        return {parameter: state for part in self._parts.values() for parameter, state in part.state.items()}

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters."""
        for part in self._parts.values():
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self._parts.values():
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The state of each part, by its name."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        for name, part in self._parts.items():
            part.load_state_dict(state_dict[name])


class MaxNorm(TrainerCallback):
    """After each update, weights of the last layer longer than `limit` (L2, for each class) are scaled to it.

    Kim 2014, after Hinton et al. 2012 (arXiv:1207.0580).
    """

    def __init__(self, layer: nn.Linear, limit: float) -> None:
        self._layer, self._limit = layer, limit

    @torch.no_grad()
    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Right after the update."""
        weight = self._layer.weight  # (C, K*F)
        weight.copy_(torch.renorm(weight, p=2, dim=0, maxnorm=self._limit))


def own_optimizer(args: TextCnnTrainingArguments) -> tuple[type[Optimizer], dict[str, Any]] | None:
    """Class and arguments of an optimizer that transformers has no name for."""
    if args.optim == "adam":
        return Adam, {**_moments(args), "fused": True}
    if args.optim == "adadelta":
        given = {name: float(value) for name, value in optim_settings(args.optim_args).items()}
        return Adadelta, {"lr": args.learning_rate, "rho": 0.95, "eps": 1e-6, **given}  # Zeiler 2012 (arXiv:1212.5701)
    return None


def choose_row_sparse(embedding: nn.Embedding, args: TextCnnTrainingArguments) -> bool:
    """Whether updates are to be row-sparse; raises `InputError` where that was asked for and cannot be."""
    obstacle = _obstacle(embedding, args)
    if args.sparse_embedding == "on" and obstacle is not None:
        raise InputError(f"sparse_embedding cannot be on: {obstacle}")
    if args.sparse_embedding == "auto":
        # What n-grams are worth was found with Adagrad, whatever the device.
        least = SPARSE_ELEMENTS["cpu" if isinstance(embedding, SubwordEmbedding) else args.device.type]
        return obstacle is None and sum(p.numel() for p in embedding.parameters()) >= least
    return args.sparse_embedding == "on"


def row_sparse(dense: Optimizer, embedding: nn.Embedding, args: TextCnnTrainingArguments) -> Optimizer:
    """`dense`, which leaves out the embedding, together with Adam, or Adagrad with n-grams, for the rows of a batch."""
    moments, parameters = _moments(args), list(embedding.parameters())
    if isinstance(embedding, SubwordEmbedding):
        return RowSparse(dense, RowAdagrad(parameters, ADAGRAD_RATE * moments["lr"]))
    return RowSparse(dense, SparseAdam(parameters, **moments))


def clip_row_sparse(network: nn.Module, max_norm: float) -> Tensor:
    """Scale the gradients to a norm of at most `max_norm`, as `clip_grad_norm_` does; their norm before that."""
    gradients = []
    for parameter in network.parameters():
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = coalesced(parameter.grad)  # a row that is used twice counts once
            gradients.append(parameter.grad.values())
        elif parameter.grad is not None:
            gradients.append(parameter.grad)
    norm = nn.utils.get_total_norm(gradients)
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, scale)
    return norm


def _obstacle(embedding: nn.Embedding, args: TextCnnTrainingArguments) -> str | None:
    """What stands against row-sparse updates of this embedding with these arguments, if anything does."""
    if not embedding.weight.requires_grad:
        return "the embedding is not learnt"
    if args.optim not in ("adamw_torch", "adamw_torch_fused", "adam"):
        return f"the optimizer is {args.optim}, no kind of Adam"
    if args.weight_decay:
        return f"weight_decay {args.weight_decay} changes every row"
    if args.torch_compile:
        return "torch_compile cannot trace it"
    if args.world_size > 1 and args.device.type == "cuda":
        return "NCCL sums no sparse gradients"
    return None


def _moments(args: TextCnnTrainingArguments) -> dict[str, Any]:
    return {"lr": args.learning_rate, "betas": (args.adam_beta1, args.adam_beta2), "eps": args.adam_epsilon}
