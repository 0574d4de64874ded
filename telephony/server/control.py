"""The control socket: how commands on the same machine ask a running server something.

Owns: the Unix domain socket, who may connect (its owner: mode 0600), the lines that are exchanged, and their bounds.
Must not know what the commands do: whoever serves gives a function for each.

A client sends one line of JSON, ``{"command": "trace", …}``, and gets lines of JSON: ``{"ok": …}`` or ``{"error": "a
sentence"}`` first, and what follows is the command's own. The server closes the connection when there is no more.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from telephony.errors import Error
from telephony.interfaces import Address

#: A question may be so long, in bytes; so many may be asked at once; so much may wait for a client that doesn't read.
MOST_QUESTION = 65536
MOST_CLIENTS = 16
MOST_WAITING = 4 * 1024 * 1024
#: What a path of a socket may have on Linux, and where less is allowed elsewhere (sun_path).
MOST_PATH = 100

_log = Logger()

#: One command: takes the question, and may keep the client to tell it more, until `Client.gone`.
Command = Callable[[dict[str, Any], "Client"], None]


def default_path(records: Path, listener: str, address: Address) -> Path:
    """Return where a server's control socket is by default: beside its records, named for its first listener.

    No two servers of a machine listen at one address, so no two have one name.
    """
    host = address[0].replace(":", ".")
    return records.absolute().parent / f"telephony-{listener}-{host}-{address[1]}.sock"


@contextmanager
def short(path: Path) -> Iterator[str]:
    """Give a name for ``path`` that is short enough for a socket, however deep the directory is."""
    if len(os.fsencode(path)) <= MOST_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


class Client(LineReceiver):
    """One connection. ``gone`` is called, once, when it has ended."""

    delimiter = b"\n"
    MAX_LENGTH = MOST_QUESTION

    def __init__(self, control: ControlSocket) -> None:
        self._control = control
        self._asked = False
        self._open = False
        self.gone: Callable[[], None] | None = None

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Take note of it; one too many is told so."""
        self._open = True
        self._control.clients[self] = None
        if len(self._control.clients) > MOST_CLIENTS:
            self.refuse(f"{MOST_CLIENTS} commands are asking this server already; end one of them first")

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take the question; there is one for each connection."""
        if self._asked or not self._open:
            return
        self._asked = True
        try:
            question = json.loads(line)
            if not isinstance(question, dict):
                raise ValueError("it is no object")
            command = self._control.commands.get(str(question.get("command")))
            if command is None:
                known = ", ".join(sorted(self._control.commands))
                raise Error(f"this server has no command {question.get('command')!r}; it has: {known}")
            command(question, self)
        except Error as error:
            self.refuse(str(error))
        except (ValueError, RecursionError) as error:
            self.refuse(f"the question can't be read: {error}")
        except Exception:
            _log.failure("A command could not be answered")
            self.refuse("a fault inside the server; its log says more")

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """Refuse a question without end."""
        self.refuse(f"the question is longer than {MOST_QUESTION} bytes")

    def tell(self, line: bytes) -> None:
        """Send a line; a client that doesn't read is cut off."""
        if not self._open:
            return
        transport: Any = self.transport
        if len(transport.dataBuffer) + transport._tempDataLen > MOST_WAITING:
            transport.abortConnection()
            return
        transport.write(line + b"\n")

    def answer(self, value: object) -> None:
        """Send the first line of an answer."""
        self.tell(json.dumps({"ok": value}).encode())

    def refuse(self, sentence: str) -> None:
        """Say why not, and end."""
        self.tell(json.dumps({"error": sentence}).encode())
        self.end()

    def end(self) -> None:
        """There is no more."""
        if self._open:
            cast(ITransport, self.transport).loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """Forget the client."""
        self._open = False
        self._control.clients.pop(self, None)
        gone, self.gone = self.gone, None
        if gone is not None:
            gone()


class ControlSocket(Factory):
    """A control socket at ``path``. `open` it; ``commands`` are by their name."""

    noisy = False

    def __init__(self, reactor: Any, path: Path, commands: dict[str, Command]) -> None:
        self.path = path
        self.commands = commands
        self.clients: dict[Client, None] = {}
        self._reactor = reactor
        self._port: Any = None

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: N802 - Twisted's name
        """Return the protocol of a new connection."""
        return Client(self)

    def open(self) -> None:
        """Listen. A socket that a server has left behind is replaced. Raises `Error` when it can't be had."""
        try:
            with short(self.path) as name:
                _clear(self.path, name)
                made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    made.setblocking(False)
                    # From its first moment on nobody but its owner may connect.
                    old = os.umask(0o177)
                    try:
                        made.bind(name)
                    finally:
                        os.umask(old)
                    made.listen(MOST_CLIENTS)
                    self._port = _adopted(self._reactor, made, self)
                finally:
                    made.close()
        except OSError as error:
            raise Error(f"the control socket {self.path} can't be made: {error.strerror or error}") from error

    def close(self) -> None:
        """Stop listening, end every connection, and take the socket's name away."""
        if self._port is None:
            return
        port, self._port = self._port, None
        port.loseConnection()
        for client in tuple(self.clients):
            client.end()
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            _log.warn("The control socket {path} can't be removed: {error}", path=str(self.path), error=str(error))


def _clear(path: Path, name: str) -> None:
    """Remove a socket that nobody listens on any more. Raises `Error` when somebody does, or it is none."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise Error(f"the control socket {path} can't be made: there is a file of that name, which is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(name)
        except OSError:
            path.unlink()
            return
    raise Error(f"the control socket {path} is in use by another server; give [trace] control another name")


def _adopted(reactor: Any, made: socket.socket, factory: Factory) -> Any:
    """Let the reactor accept connections on a Unix socket that listens already."""
    from twisted.internet import unix

    class Port(unix.Port):
        def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
            # The name is ours to take away; the one that Twisted knows may be a short form that is gone.
            self._bindPath = b"\0"
            super().connectionLost(reason)  # type: ignore[no-untyped-call]

        def startListening(self) -> None:  # noqa: N802 - Twisted's name
            self._bindPath = b"\0"  # nor is its mode Twisted's to set
            super().startListening()  # type: ignore[no-untyped-call]

    port = Port._fromListeningDescriptor(reactor, made.fileno(), factory)  # type: ignore[no-untyped-call]
    port.startListening()
    return port
