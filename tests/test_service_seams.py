"""What the service relies on in LitServe beyond its documentation: an upgrade that changes it must fail here first."""

import inspect
import multiprocessing
import os
import re
import signal
from collections.abc import Iterator

import litserve
import pytest
import uvicorn
from litserve import LitServer
from litserve.loops import LitLoop, inference_worker
from litserve.utils import WorkerSetupStatus
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.channels import Report
from service.config import Limits, ServiceArguments, bind
from service.processes import signals_blocked
from service.routes import Keys
from service.served import Served
from service.server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    listener = bind("127.0.0.1", 0)
    arguments = ServiceArguments(["nowhere"], workers_per_device=3, api_servers=2)
    made = Server(
        [Served("nowhere"), Served("elsewhere")], arguments, Limits(), ["cpu"], listener, lambda: None, Keys()
    )
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
        if name in ("_init_manager", "_start_worker_monitoring") or name.startswith(("launch", "verify", "lifespan")):
            assert hasattr(LitServer, name), f"{name} replaces nothing"


def test_what_stands_in_for_the_queues_is_all_that_litserve_uses_of_them(server: Server) -> None:
    run, shutdown = source(LitServer.run), source(LitServer._perform_graceful_shutdown)
    assert "manager = self._init_manager(num_api_servers)" in run
    assert set(re.findall(r"manager\.(\w+)", run + shutdown)) == {"shutdown"}
    assert set(re.findall(r"self\._transport\.(\w+)", run + shutdown)) == {"close"}
    assert set(re.findall(r"self\._shutdown_event\.(\w+)", run)) == {"wait"}
    server._init_manager(1).close(send_sentinel=True)


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
    native = {"/", "/health", "/ready", "/info", "/metrics", "/openapi.json", "/ui", "/ui/", "/docs", "/docs/assets"}
    assert native <= paths
    assert {
        path for path in paths - native if not path.startswith(("/v1/", "/v2", "/tei/"))
    } == set()  # those are dialects'
    assert [middleware.cls.__name__ for middleware in server.app.user_middleware] == ["FastPath"]


def test_a_worker_runs_the_loop_with_the_api_and_its_number() -> None:
    assert list(inspect.signature(LitLoop.run).parameters)[:4] == ["self", "lit_api", "device", "worker_id"]
    assert "lit_api.setup(device)" in source(inference_worker)


def test_the_gateway_expects_every_worker(server: Server) -> None:
    assert server._worker_devices == ["cpu"] * 3
    assert [pool.expected_workers for pool in server.gateway.pools] == [3, 3]
    assert [server.gateway.pool_of(worker) for worker in (0, 2, 3, 5)] == [
        *[server.gateway.pools[0]] * 2,
        *[server.gateway.pools[1]] * 2,
    ]
    assert len(server._rendezvous.addresses) == 2


def test_what_a_worker_does_with_litserves_status_is_what_ours_takes(server: Server) -> None:
    uses = re.findall(r"workers_setup_status\S*", source(inference_worker))
    assert {use for use in uses if "[" in use} == {'workers_setup_status[f"{endpoint}_{worker_id}"]'}
    server.reports.sink["predict_0"] = WorkerSetupStatus.READY
    assert server.reports.read() == Report(os.getpid(), "ready")


def test_uvicorn_tells_behind_receive_whether_the_client_has_gone() -> None:
    assert "self.cycle.disconnected = True" in source(HttpToolsProtocol.connection_lost)
    assert "cycle.run_asgi(app)" in source(HttpToolsProtocol._start_asgi_task)
    assert "self.scope, self.receive, self.send" in source(RequestResponseCycle.run_asgi)


def test_workers_never_get_the_signals_that_are_meant_for_the_main_process() -> None:
    with signals_blocked():
        assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} <= signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert not multiprocessing.active_children()
