"""Connections, below HTTP."""

import socket

import pytest

from ocibuild.content.flow import Cancel
from ocibuild.errors import Cancelled
from ocibuild.registry.wire import Wire, _PlainConnection


class _TooLate(Wire):
    """Called off between connecting and being held."""

    def hold(self, sock):
        self.cancel.set()
        super().hold(sock)


def test_a_connection_that_is_called_off_while_it_is_made_is_closed():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        connection = _PlainConnection("127.0.0.1", listener.getsockname()[1])
        wire = _TooLate(Cancel())
        # The traceback holds the socket, so that nothing but our own closing can close it.
        with wire.used(1), pytest.raises(Cancelled) as caught:
            connection._new_conn()
        wire.release()
        server, _ = listener.accept()
        with server:
            server.settimeout(2)
            assert server.recv(1) == b""
        assert caught.traceback
