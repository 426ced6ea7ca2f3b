"""`hf://` checkpoints, fetched by the real huggingface_hub from a hub on this machine."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from model.__main__ import main
from model.classifier import TextClassifier
from model.errors import InputError
from model.hub import local_folder
from tests.checkpoints import TEXTS, write_checkpoint
from tests.hub import Hub
from tests.servers import server


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub(write_checkpoint(tmp_path / "remote"))
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + template)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
    thread.start()
    yield hub
    hub.shutdown()
    thread.join()
    hub.server_close()


def test_a_folder_is_itself() -> None:
    assert local_folder("runs/quickstart") == "runs/quickstart"


def test_a_hub_checkpoint_is_fetched_once_and_answers_alike(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--checkpoint", "hf://shop/intents", "--device", "cpu", "退款"]) == 0
    here = TextClassifier.from_pretrained(hub.folder, "cpu")(["退款"])[0].to_dict()
    assert json.loads(capsys.readouterr().out) == {"text": "退款", **here}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(hub.downloads)
    folder = Path(local_folder("hf://shop/intents@main"))
    assert TextClassifier.from_pretrained(folder, "cpu").name == "intents@main"
    assert not list(folder.glob("*.py"))  # no code comes along
    hub.downloads.clear()
    assert local_folder("hf://shop/intents@main") == str(folder)
    assert hub.downloads == []


@pytest.mark.slow
def test_the_service_takes_a_checkpoint_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    places = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(tmp_path / "of the service")}
    with server("hf://shop/intents", **places) as running, running.client() as client:
        assert "config.json" in hub.downloads
        reply = client.post("/predict", json={"inputs": TEXTS[0]}).json()
        assert reply["model"]["name"] == "intents"
        expected = TextClassifier.from_pretrained(hub.folder, "cpu")([TEXTS[0]])[0]
        assert reply["predictions"][0]["scores"] == pytest.approx(expected.scores, abs=1e-6)
        assert running.stop() == 0


def test_without_a_connection_the_last_files_serve(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = local_folder("hf://shop/intents")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert local_folder("hf://shop/intents") == folder
    with pytest.raises(InputError, match=r"^checkpoint 'hf://shop/other' cannot be fetched \(.*\)$"):
        local_folder("hf://shop/other")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf://intents", "checkpoint must be a folder or hf://organisation/name[@revision], got 'hf://intents'"),
        ("hf://shop/../x", "checkpoint must be a folder or hf://"),
        ("hf://shop/none", "checkpoint 'hf://shop/none' cannot be fetched ("),
        ("hf://shop/intents@v9", "checkpoint 'hf://shop/intents@v9' cannot be fetched ("),
    ],
)
def test_mistakes_are_one_sentence(hub: Hub, name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        local_folder(name)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
