"""A TCP proxy in front of a real Glance, that flips a bit, throttles, or cuts on the way in."""

import socket
import threading
import time
from types import TracebackType
from typing import Self


class Proxy:
    """Forwards connections from a port of its own to ``target`` (a port on loopback).

    :param flip_after: flip one bit of the first byte past so many bytes of a connection's upload
    :param rate: bytes per second let in, per connection
    """

    def __init__(self, target: int, *, flip_after: int | None = None, rate: int | None = None):
        self.target = target
        self.flip_after = flip_after
        self.rate = rate
        self.flipped = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        self._listener.close()

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            client.close()
            return
        back = threading.Thread(target=self._pump, args=(server, client, False), daemon=True)
        back.start()
        self._pump(client, server, True)
        back.join()
        client.close()
        server.close()

    def _pump(self, source: socket.socket, sink: socket.socket, inward: bool) -> None:
        passed = 0
        while True:
            try:
                data = bytearray(source.recv(65536))
                if not data:
                    break
                limit = self.flip_after
                if inward and limit is not None and passed <= limit < passed + len(data):
                    data[limit - passed] ^= 1
                    self.flipped += 1
                passed += len(data)
                if inward and self.rate:
                    time.sleep(len(data) / self.rate)  # what the throttle is
                sink.sendall(data)
            except OSError:
                break
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR if end is source else socket.SHUT_WR)
            except OSError:
                continue
