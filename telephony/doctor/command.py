"""The command ``telephony doctor``: a reactor of its own, Ctrl-C, and what is written where.

Owns: the process around one visit. Must not know checks. Ctrl-C ends the visit, which still hangs up and signs off; a
second one ends the process at once.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from telephony.doctor.asked import Asked
from telephony.doctor.examination import Examination
from telephony.doctor.findings import Report
from telephony.doctor.screen import Screen
from telephony.host import ReactorHost


def main(asked: Asked, *, as_json: bool = False) -> int:
    """Make the visit in a reactor of its own; returns the exit status: 0, 1 where something is bad, 130 interrupted."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    outcome: list[Report | Failure] = []

    def begin() -> None:
        examination = Examination(ReactorHost(reactor), asked)
        screen = Screen(sys.stdout)
        if not as_json:
            screen.opening(str(asked.target))
            examination.titled, examination.begun, examination.found = screen.titled, screen.begun, screen.found
        running: Deferred[Any] = examination.run()
        pressed: list[bool] = []

        def interrupted(_number: int, _frame: object) -> None:
            pressed.append(True)
            if len(pressed) == 1:
                reactor.callFromThread(examination.interrupt)
            else:
                reactor.callFromThread(running.cancel)

        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, interrupted)

        def over(result: Report | Failure) -> None:
            outcome.append(result)
            if isinstance(result, Report):
                if as_json:
                    click.echo(json.dumps(result.as_dict(), indent=2))
                else:
                    screen.closing(result)
            reactor.stop()

        running.addBoth(over)

    reactor.callWhenRunning(begin)
    reactor.run()
    if not outcome or isinstance(outcome[0], Failure):
        fault = outcome[0] if outcome else None
        if isinstance(fault, Failure) and not isinstance(fault.value, CancelledError):
            click.echo(f"The visit ended by a fault of the doctor's own: {fault.getErrorMessage()}", err=True)
            click.echo(fault.getTraceback(), err=True)
            return 70
        return 130
    return outcome[0].status
