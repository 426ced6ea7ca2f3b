"""Embeddings that share their n-grams in training: what they give, and that nothing of it is left in a checkpoint."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedTokenizerFast

from model.checkpoint import read_config, read_network
from model.network_textcnn import TextCnn, TextCnnShape
from model.tokenizer import load_pretrained_tokenizer, train_tokenizer
from tests.conftest import labelled_texts, train
from training.subwords import SubwordEmbedding, fold_subwords, ngrams, share_subwords

BUCKETS, STD = 7, 0.5


@given(st.lists(st.lists(st.integers(0, BUCKETS - 1), max_size=4), min_size=1, max_size=6), st.data())
def test_an_embedding_is_its_row_plus_those_of_its_ngrams(grams: list[list[int]], data: st.DataObject) -> None:
    own = nn.Embedding(len(grams), 3)
    shared = SubwordEmbedding(own, grams, BUCKETS, STD)
    ids = data.draw(st.lists(st.integers(0, len(grams) - 1), max_size=5))
    batch = torch.tensor([ids, ids], dtype=torch.long)  # (2, L)
    for row, token in zip(shared(batch)[1], ids, strict=True):
        sums = sum((shared.grams.weight[gram] for gram in grams[token]), torch.zeros(3))
        torch.testing.assert_close(row, own.weight[token] + sums / max(1, len(grams[token])) ** 0.5)
    torch.testing.assert_close(shared.eval()(batch), shared.train()(batch))
    torch.testing.assert_close(shared.table()[batch], shared(batch))


def test_special_tokens_have_no_spelling(tmp_path: Path) -> None:
    """A pretrained tokenizer frames texts by tokens that have no name once it is loaded."""
    train_tokenizer(["spelling"], "word", 10, add_special_tokens=True).save_pretrained(tmp_path)
    tokenizer = load_pretrained_tokenizer(str(tmp_path), add_special_tokens=True)
    network = TextCnn(TextCnnShape(vocab_size=5, embedding_dim=4, num_filters=2), num_labels=2)
    share_subwords(network, tokenizer, BUCKETS)
    assert isinstance(network.embedding, SubwordEmbedding)
    own = network.embedding.weight
    has_grams = (network.embedding.table() != own).any(dim=1)
    assert has_grams.tolist() == [False, False, False, False, True]  # [PAD], [UNK], [CLS], [SEP], spelling


@pytest.mark.parametrize("sparse", [False, True])
def test_what_one_token_learns_moves_those_of_like_spelling(sparse: bool) -> None:
    shared = SubwordEmbedding(nn.Embedding(3, 2), [[0, 1], [1, 2], [3]], BUCKETS, STD)
    shared.sparse = shared.grams.sparse = sparse
    before = shared.table()
    shared(torch.tensor([[0, 0]])).sum().backward()
    for parameter in shared.parameters():
        assert parameter.grad is not None
        parameter.data -= parameter.grad.to_dense()
        if sparse:
            rows = parameter.grad._indices()[0]
            assert (rows[1:] > rows[:-1]).all()  # each once and in order: nothing is left to sort
    moved = (before - shared.eval()(torch.arange(3))).sum(dim=1)  # (3,)
    torch.testing.assert_close(moved, torch.tensor([8.0, 2.0, 0.0]))  # own row 4 and two n-grams; one of them; none


def test_an_evaluation_sees_the_present_weights() -> None:
    shared = SubwordEmbedding(nn.Embedding(1, 2), [[0]], BUCKETS, STD).eval()
    before = shared(torch.tensor([0]))
    shared.train()
    shared.grams.weight.data += 1
    torch.testing.assert_close(shared.eval()(torch.tensor([0])), before + 1)


@pytest.mark.parametrize(
    ("token", "found"),
    [
        ("cats", ["<ca", "cat", "ats", "ts>", "<cat", "cats", "ats>", "<cats", "cats>"]),
        ("##ing", ["ing", "ng>"]),
        ("\u2581it", ["<it", "it>"]),
        ("a", []),
        ("\u5929", []),
        ("##", ["<##", "##>"]),
    ],
)
def test_ngrams_of_a_token(token: str, found: list[str]) -> None:
    assert ngrams(token) == found


@pytest.mark.parametrize("sparse", ["on", "off"])
def test_a_finished_checkpoint_holds_the_sums_alone(tmp_path: Path, sparse: str) -> None:
    flags = (
        "--keep_checkpoints",
        "--load_best_model_at_end",
        "false",
        "--num_train_epochs",
        "1",
        "--max_bigrams",
        "0",
    )
    checkpoint = train(tmp_path, labelled_texts(), "--ngram_buckets", "50", "--sparse_embedding", sparse, *flags)
    finished = load_file(checkpoint / "model.safetensors")
    assert [name for name in finished if "embedding" in name] == ["network.embedding.weight"]
    (last,) = checkpoint.glob("checkpoint-*")
    network = read_network(checkpoint, read_config(checkpoint))
    share_subwords(network, PreTrainedTokenizerFast.from_pretrained(checkpoint), 50)
    learnt = load_file(last / "model.safetensors")
    network.load_state_dict({name.removeprefix("network."): weight for name, weight in learnt.items()})
    assert isinstance(network.embedding, SubwordEmbedding)
    fold_subwords(network)
    assert type(network.embedding) is nn.Embedding
    torch.testing.assert_close(network.embedding.weight, finished["network.embedding.weight"])
