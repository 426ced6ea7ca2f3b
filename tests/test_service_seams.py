"""What the service relies on in LitServe beyond its documentation: an upgrade that changes it must fail here first."""

import inspect
import multiprocessing
import signal
from collections.abc import Iterator

import litserve
import pytest
import uvicorn
from litserve import LitServer
from litserve.loops import LitLoop, inference_worker

from service.config import Limits, ServiceArguments, bind
from service.server import Server, sigint_blocked


@pytest.fixture
def server() -> Iterator[Server]:
    listener = bind("127.0.0.1", 0)
    arguments = ServiceArguments("nowhere", workers_per_device=3, api_servers=2)
    made = Server(arguments, Limits(), "cpu", listener, lambda: None, None)
    yield made
    made._rendezvous.close()
    listener.close()


def source(function: object) -> str:
    return inspect.getsource(function)  # type: ignore[arg-type]


def test_the_version_is_the_one_whose_seams_were_read() -> None:
    assert litserve.__version__ == "0.2.19"


def test_run_calls_the_methods_that_the_server_replaces() -> None:
    run = source(LitServer.run)
    for call in (
        "self.launch_inference_worker(",
        "self.verify_worker_status()",
        "self._start_worker_monitoring(manager, uvicorn_workers)",
        "except KeyboardInterrupt",
        "self._perform_graceful_shutdown(",
    ):
        assert call in run
    for name in vars(Server):
        if not name.startswith("__") and name not in ("serve", "_stop"):
            assert hasattr(LitServer, name), f"{name} replaces nothing"


def test_a_listening_socket_reaches_uvicorn_by_its_number() -> None:
    assert "sockets = [config.bind_socket()]" in source(LitServer.run)
    with (
        bind("127.0.0.1", 0) as listener,
        uvicorn.Config("nothing:here", fd=listener.fileno()).bind_socket() as taken,
    ):
        assert taken.getsockname() == listener.getsockname()


def test_the_lifespan_of_the_application_is_ours(server: Server) -> None:
    assert "FastAPI(lifespan=self.lifespan" in source(LitServer.__init__)
    assert "self.app.response_queue_id = response_queue_id" in source(LitServer._start_server)
    assert type(server).lifespan is not LitServer.lifespan


def test_no_route_and_no_middleware_of_litserve_is_left(server: Server) -> None:
    paths = {getattr(route, "path", "") for route in server.app.router.routes}
    assert paths == {"/", "/health", "/ready", "/info", "/openapi.json", "/docs", "/docs/assets"}
    assert [middleware.cls.__name__ for middleware in server.app.user_middleware] == ["FastPath"]


def test_a_worker_runs_the_loop_with_the_api_and_its_number() -> None:
    assert list(inspect.signature(LitLoop.run).parameters)[:4] == ["self", "lit_api", "device", "worker_id"]
    assert "lit_api.setup(device)" in source(inference_worker)


def test_the_gateway_expects_every_worker(server: Server) -> None:
    assert len(server._inference_workers_config_for_api("/predict")) == 3
    assert server.gateway._expected_workers == 3
    assert len(server._rendezvous.addresses) == 2


def test_a_process_started_with_sigint_blocked_never_gets_it() -> None:
    with sigint_blocked():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert not multiprocessing.active_children()
