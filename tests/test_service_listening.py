"""New connections are taken many at a time, and later where none can be."""

import asyncio
import errno
import socket
from types import SimpleNamespace
from typing import Any

from service.listening import Acceptor
from tests.servers import run


class Greeter(asyncio.Protocol):
    """Says hello and hangs up."""

    def connection_made(self, transport: Any) -> None:
        transport.write(b"hello")
        transport.close()


SERVER = SimpleNamespace(
    config=SimpleNamespace(http_protocol_class=lambda **_: Greeter()),
    server_state=None,
    lifespan=SimpleNamespace(state={}),
)


async def greeting(address: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    heard = await reader.read()
    writer.close()
    return heard


def test_all_who_come_at_once_are_taken_in_turns() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
            acceptor = Acceptor(listener, SERVER)
            clients = [asyncio.create_task(greeting(listener.getsockname())) for _ in range(100)]
            acceptor.start()
            assert set(await asyncio.gather(*clients)) == {b"hello"}
            acceptor.stop()

    run(scenario())


def test_a_turn_leaves_some_to_others() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
            acceptor = Acceptor(listener, SERVER)
            listener.setblocking(False)
            clients = [socket.create_connection(listener.getsockname()) for _ in range(40)]
            acceptor._take_some()
            assert len(acceptor._begun) == 16
            assert acceptor.take(1000)
            assert len(acceptor._begun) == 40
            await asyncio.gather(*acceptor._begun)
            acceptor.stop()
            for client in clients:
                client.close()

    run(scenario())


def test_without_descriptors_it_rests_and_goes_on() -> None:
    class Failing:
        """A listener that fails once."""

        def __init__(self, listener: socket.socket) -> None:
            self._listener, self.attempts = listener, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._listener, name)

        def accept(self) -> Any:
            self.attempts += 1
            if self.attempts == 1:
                raise OSError(errno.EMFILE, "Too many open files")
            return self._listener.accept()

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            failing: Any = Failing(listener)
            acceptor = Acceptor(failing, SERVER)
            acceptor.start()
            client = asyncio.create_task(greeting(listener.getsockname()))
            while not failing.attempts:
                await asyncio.sleep(0)
            assert not asyncio.get_running_loop().remove_reader(acceptor._watched), "it rests"
            assert await client == b"hello"
            acceptor.stop()

    run(scenario())
