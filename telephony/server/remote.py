"""The other end of a control socket: what the commands on the machine use to find a server and ask it.

Owns: where sockets are looked for, and the sentences for everything that keeps a question from being answered. Must
not know what the answers mean.
"""

from __future__ import annotations

import json
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from telephony.errors import Error
from telephony.server.control import short

#: A server that doesn't begin to answer within so many seconds isn't well.
PATIENCE = 10.0


def find_socket(control: Path | None, config: Path | None) -> Path:
    """Return the control socket to ask: the one given, that of a configuration, or the only one in this directory.

    Raises `Error`, a sentence that says what to give.
    """
    if control is not None:
        return control
    directory = Path.cwd()
    if config is not None:
        told = _configured(config)
        trace, records = told.get("trace", {}), told.get("records", {})
        if isinstance(trace, dict) and isinstance(trace.get("control"), str):
            if trace["control"] == "off":
                raise Error(f'{config} says [trace] control = "off", so its server can\'t be asked')
            path = Path(trace["control"]).expanduser()
            beside = config.absolute().parent / path
            return beside if beside.exists() or path.is_absolute() else Path.cwd() / path
        file = records.get("file") if isinstance(records, dict) else None
        directory = (config.absolute().parent / (file if isinstance(file, str) else "records.jsonl")).parent
    found = sorted(one for one in directory.glob("telephony-*.sock") if one.is_socket())
    alive = [one for one in found if _answers(one)] if len(found) > 1 else found
    if not alive:
        what = "no server's socket answers" if found else "there is no server's socket"
        raise Error(f"{what} in {directory}; run this where the server keeps its records, or give --control SOCKET")
    if len(alive) > 1:
        names = ", ".join(one.name for one in alive)
        raise Error(f"several servers run in {directory}; give one of them with --control: {names}")
    return alive[0]


def _configured(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_bytes().decode())
    except OSError as error:
        raise Error(f"{config} can't be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Error(f"{config} is no TOML: {error}") from error


def _answers(path: Path) -> bool:
    try:
        with short(path) as name, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(PATIENCE)
            probe.connect(name)
    except OSError:
        return False
    return True


def ask(path: Path, question: dict[str, Any]) -> tuple[Any, Iterator[str]]:
    """Ask the server at ``path``; returns the first line's value, and the lines that follow, as they come.

    Raises `Error`: the server's own sentence, or what keeps it from being asked.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(PATIENCE)
    try:
        with short(path) as name:
            made.connect(name)
        made.sendall(json.dumps(question).encode() + b"\n")
        file = made.makefile("rb")
        first = file.readline()
    except FileNotFoundError:
        made.close()
        raise Error(f"there is no socket {path}; is the server running?") from None
    except PermissionError:
        made.close()
        raise Error(f"{path} is another user's: only who runs the server may ask it") from None
    except ConnectionRefusedError:
        made.close()
        raise Error(f"nobody listens at {path}: its server has ended") from None
    except TimeoutError:
        made.close()
        raise Error(f"the server at {path} does not answer within {PATIENCE:g} seconds") from None
    except OSError as error:
        made.close()
        raise Error(f"the server at {path} can't be asked: {error.strerror or error}") from error
    try:
        answer = json.loads(first)
    except ValueError as error:
        made.close()
        raise Error(f"what listens at {path} is no telephony server") from error
    if not isinstance(answer, dict) or "ok" not in answer:
        made.close()
        sentence = answer.get("error") if isinstance(answer, dict) else None
        raise Error(str(sentence or f"what listens at {path} is no telephony server"))

    def lines() -> Iterator[str]:
        made.settimeout(None)
        with made, file:
            for line in file:
                yield line.decode("utf-8", "replace").rstrip("\n")

    return answer["ok"], lines()
