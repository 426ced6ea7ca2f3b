"""The text CNN as transformers knows models: `AutoModelForSequenceClassification`, `Trainer`, `pipeline`."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .configuration_textcnn import TextCnnConfig
from .network_textcnn import TextCnn


class TextCnnForSequenceClassification(PreTrainedModel):
    """`TextCnn` with a loss for each `problem_type`: single-label, multi-label or regression."""

    config: TextCnnConfig
    config_class = TextCnnConfig
    base_model_prefix = "network"
    main_input_name = "input_ids"

    def __init__(self, config: TextCnnConfig) -> None:
        super().__init__(config)
        self.network = TextCnn(config, config.num_labels or 0)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Logits (B, C) of ids (B, T), and the mean loss if there are labels.

        Without a mask, every `pad_token_id` is padding. Labels are (B,) class indices, (B, C) zeros and ones for
        multi-label, or (B,) numbers for regression. What else a tokenizer returns is ignored.
        """
        if attention_mask is None:
            attention_mask = input_ids.ne(self.config.pad_token_id)
        logits = self.network(input_ids, attention_mask)
        loss = None if labels is None else self._loss(logits, labels)
        if return_dict is False:
            return (logits,) if loss is None else (loss, logits)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.config.problem_type == "regression":
            return functional.mse_loss(logits.view(labels.shape), labels.to(logits.dtype))
        if self.config.problem_type == "multi_label_classification":
            return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        return functional.cross_entropy(logits, labels)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Normal embeddings; convolutions and the linear layer keep torch's own initialisation."""
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initial_embedding_std)
        elif isinstance(module, nn.Conv1d | nn.Linear):
            module.reset_parameters()

    def get_input_embeddings(self) -> nn.Module:
        """The embedding table (V, D)."""
        return self.network.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the embedding table."""
        self.network.embedding = value  # type: ignore[assignment]
