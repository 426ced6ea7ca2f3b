"""The transformers wrapper: losses of the three problem types, masks, extra keywords."""

import torch
from torch.nn import functional

from tests.checkpoints import build_network

IDS = torch.tensor([[2, 3, 4], [5, 6, 0]])


def test_single_label_loss_is_cross_entropy() -> None:
    network = build_network(20)
    labels = torch.tensor([2, 0])
    output = network(IDS, labels=labels)
    torch.testing.assert_close(output.loss, functional.cross_entropy(output.logits, labels))


def test_multi_label_loss_is_binary_cross_entropy() -> None:
    network = build_network(20, problem_type="multi_label_classification")
    labels = torch.tensor([[1, 0, 1], [0, 0, 0]])
    output = network(IDS, labels=labels)
    expected = functional.binary_cross_entropy_with_logits(output.logits, labels.float())
    torch.testing.assert_close(output.loss, expected)


def test_regression_loss_is_the_mean_squared_error() -> None:
    network = build_network(20, problem_type="regression")
    labels = torch.tensor([0.5, -2.0])
    output = network(IDS, labels=labels)
    torch.testing.assert_close(output.loss, ((output.logits[:, 0] - labels) ** 2).mean())


def test_without_a_mask_the_padding_token_is_the_mask() -> None:
    network = build_network(20)
    assert torch.equal(network(IDS).logits, network(IDS, attention_mask=IDS.ne(0).long()).logits)
    assert not torch.equal(network(IDS).logits[1], network(IDS, attention_mask=torch.ones_like(IDS)).logits[1])


def test_takes_no_tokens_extra_keywords_and_return_dict() -> None:
    network = build_network(20)
    empty = torch.zeros(2, 0, dtype=torch.long)
    assert network(empty).logits.shape == (2, 3)
    (logits,) = network(IDS, token_type_ids=torch.zeros_like(IDS), return_dict=False)
    assert torch.equal(logits, network(IDS).logits)


def test_long_texts_are_cut_to_max_length() -> None:
    network = build_network(20, max_length=2)
    assert torch.equal(network(IDS[:1]).logits, network(IDS[:1, :2]).logits)
    left = build_network(20, max_length=2, truncation_side="left")
    assert torch.equal(left(IDS[:1]).logits, left(IDS[:1, 1:]).logits)
