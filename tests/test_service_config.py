"""A user's mistake is one sentence on stderr and exit status 2, before anything is started."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.errors import InputError
from service import config
from service.__main__ import main
from service.config import bind, check_dialects, choose_devices


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def mistake(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """The sentence that the command ends with."""
    assert main(flags) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--port", "70000"], "port must be from 0 to 65535, got 70000"),
        (["--port", "eighty"], "argument --port: invalid int value: 'eighty'"),
        (["--device", "tpu"], "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
        (["--device", "cuda:"], "device must be auto, cpu, cuda or cuda:N, got 'cuda:'"),
        (["--device", "cuda:999"], "device 'cuda:999' does not exist: there are 0 CUDA devices"),
        (["--host", "no.such.host.invalid"], "host must be an address or a name of this machine"),
        (["--host", "192.0.2.1", "--port", "0"], "host must be an address of this machine, got '192.0.2.1'"),
        (["--timeout_s", "0"], "timeout_s must be a number greater than 0, got 0.0"),
        (["--pass_timeout_s", "inf"], "pass_timeout_s must be a number greater than 0, got inf"),
        (["--max_batch_size", "-1"], "max_batch_size must be a number greater than 0, got -1"),
        (["--workers_per_device", "0"], "workers_per_device must be a number greater than 0, got 0"),
        (["--devices", "two"], "devices must be a number from 1 on or all, got 'two'"),
        (["--devices", "2"], "devices must be 1 on a CPU, got 2; --workers_per_device starts more workers"),
        (["--prot", "8000"], "unknown argument '--prot'; did you mean '--port'?"),
    ],
)
def test_a_wrong_flag(
    folder: Path, flags: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.config._cuda_devices", lambda: 0)
    assert sentence in mistake(capsys, "--checkpoint", str(folder), *flags)


def test_a_missing_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--checkpoint" in mistake(capsys)
    assert "does not exist" in mistake(capsys, "--checkpoint", str(tmp_path / "nowhere"))
    assert "has no config.json" in mistake(capsys, "--checkpoint", str(tmp_path))


def test_a_port_in_use(folder: Path, taken_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = mistake(capsys, "--checkpoint", str(folder), "--port", str(taken_port))
    assert f"port {taken_port} on 127.0.0.1 is in use" in sentence


def test_the_devices_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, expected in ((0, ["cpu"]), (2, ["cuda:0"])):
        monkeypatch.setattr("service.config._cuda_devices", lambda count=count: count)
        assert choose_devices("auto", "1") == expected
    monkeypatch.setattr("service.config._cuda_devices", lambda: 4)
    assert choose_devices("cuda", "2") == ["cuda:0", "cuda:1"]
    assert choose_devices("cuda:1", "all") == ["cuda:1", "cuda:2", "cuda:3"]
    with pytest.raises(InputError, match="devices must be at most 2 from cuda:2 on, got 3"):
        choose_devices("cuda:2", "3")


def test_where_there_is_no_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.13.0")
    monkeypatch.setattr("service.config._COUNT_DEVICES", config._COUNT_DEVICES.replace("libcuda", "libno-cuda"))
    assert config._cuda_devices() == 0


@pytest.mark.parametrize(("found", "count"), [("3", 3), ("0", 0)])
def test_the_driver_counts_the_gpus(found: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.13.0")
    monkeypatch.setattr("service.config._COUNT_DEVICES", f"print({found})")
    assert config._cuda_devices() == count


def test_a_reply_never_waits_for_an_acknowledgement() -> None:
    """Head and body leave as two packets; with Nagle's algorithm the second waits 40 ms, on every accepted socket."""
    with bind("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        accepted.close()


def test_dialects_by_name() -> None:
    assert check_dialects(["hf", "tei"]) == ["hf", "tei"]
    assert check_dialects(["none"]) == []
    with pytest.raises(InputError, match="dialects must be among hf, tei, vllm, kserve, or none alone, got 'grpc'"):
        check_dialects(["hf", "grpc"])
