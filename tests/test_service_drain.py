"""The last moments of a listening socket: who has connected is taken, who has not is refused."""

import socket
import sys

import pytest

from service.drain import ignore_new_connections


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux filters what reaches a socket")
def test_connections_made_before_go_on_and_later_ones_do_not_begin() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        with socket.create_connection(listener.getsockname(), 10) as early:
            ignore_new_connections(listener)
            with socket.socket() as late:
                late.setblocking(False)
                late.connect_ex(listener.getsockname())
                early.sendall(b"in time")
                taken, _ = listener.accept()
                with taken:
                    assert taken.recv(7) == b"in time"
                    taken.sendall(b"answered")
                    assert early.recv(8) == b"answered"
                listener.setblocking(False)
                with pytest.raises(BlockingIOError):
                    listener.accept()
