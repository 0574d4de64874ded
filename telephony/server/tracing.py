"""The command ``trace`` of a server: which calls it knows, and what went into one, once or as it goes on.

Owns: the answers. Must not know sockets, nor how a ladder is drawn: whoever asks does that.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from telephony.call.recorder import Recorder
from telephony.errors import Error
from telephony.server.control import Client
from telephony.server.recordings import SETTLE


class TraceCommand:
    """Answers ``{"command": "trace"}``.

    Without ``call`` the answer is a list of the calls, newest last. With ``call``, a Call-ID, there follow the lines of
    its recording, and with ``follow`` each further one, until the call is over.
    """

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder

    def __call__(self, question: dict[str, Any], client: Client) -> None:
        """Answer. Raises `Error` for what can't be."""
        recorder = self._recorder
        if recorder is None:
            raise Error('this server keeps nothing of its calls: its configuration says [trace] replay = "off"')
        wanted = question.get("call")
        if wanted is None:
            client.answer([one.summary() for one in (*recorder.recent, *recorder.live)])
            client.end()
            return
        recording = recorder.find(str(wanted))
        if recording is None:
            known = f"{len(recorder.live)} running and {len(recorder.recent)} that are over"
            raise Error(f"this server knows no call {wanted!r}; it knows {known}: telephony trace lists them")
        client.answer(recording.summary())
        for line in recording.lines():
            client.tell(line)
        if not question.get("follow") or recording.over:
            client.end()
            return

        def told(line: bytes) -> None:
            if line:
                client.tell(line)
            else:
                # What still comes, such as the answer to the BYE, is part of the call.
                recorder.clock.callLater(SETTLE, client.end)

        recording.watchers.append(told)
        client.gone = partial(_forget, recording.watchers, told)


def _forget(watchers: list[Any], told: Any) -> None:
    if told in watchers:
        watchers.remove(told)
