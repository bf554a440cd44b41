"""A tracker that is down, hangs, or is back: a door in front of a real server."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal

Mood = Literal["down", "hanging", "back"]


class Door:
    """Listens on a port of its own. Down: refuses. Hanging: accepts, and never answers. Back: passes everything on."""

    def __init__(self, server_port: int) -> None:
        self.server = ("127.0.0.1", server_port)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.accepted = {"hanging": 0, "back": 0}
        self._mood: Mood = "down"
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []

    def be(self, mood: Mood) -> None:
        """Change; every connection there is breaks off."""
        if self._listener:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open = []
        self._mood = mood
        if mood != "down":
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listener, mood), daemon=True).start()

    def _accept(self, listener: socket.socket, mood: Literal["hanging", "back"]) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.accepted[mood] += 1
                self._open.append(client)
                if mood == "back":
                    server = socket.create_connection(self.server)
                    self._open.append(server)
                    for a, b in ((client, server), (server, client)):
                        threading.Thread(target=_pass_on, args=(a, b), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
