"""The project as it is served: the process that `bench.peers.project` measures.

    python -m bench.served DIRECTORY CORE TARGET_PORT [--replay off|signalling] [--turns] [--profile FILE]

Owns: a `TelephonyService` on one core, made from a configuration file as anybody would write it, with one service for
each file of ``bench/applications``, called by its name (``sip:answer@…``), and ``direct``, which is ``transfer`` with
direct media; the record file and the replay ring as they
are by default. Nothing of the product is replaced or left out; limits that keep an empty machine from being used up are
lifted (``max_calls``).

Told what to do by lines on standard input, answers with lines of JSON: ``figures`` (counters, collector's pauses, the
longest turns since the last time), ``stop``.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

APPLICATIONS = Path(__file__).resolve().parent / "applications"
#: More than any row has at a time; what is beyond gets 503.
MAX_CALLS = 20_000


def configuration_text(directory: Path, target_port: int, replay: str) -> str:
    """Return the ``telephony.toml`` of the served process."""
    target = f"sip:t@127.0.0.1:{target_port}"
    parameters = {"play": "prompt.wav", "tone": "RINGBACK"}
    services = "".join(
        f'\n[[service]]\nname = "{path.stem}"\nmatch = "{path.stem}"\napplication = "{path}"\n'
        f'parameters = "{parameters.get(path.stem, target)}"\n'
        for path in sorted(APPLICATIONS.glob("*.py"))
    )
    services += (
        f'\n[[service]]\nname = "direct"\nmatch = "direct"\napplication = "{APPLICATIONS}/transfer.py"\n'
        f'parameters = "{target}"\nmedia = "direct"\n'
    )
    return (
        '[sip]\nlisten = ["udp:127.0.0.1:0"]\n'
        f"[limits]\nmax_calls = {MAX_CALLS}\n"
        f'[media]\ndirectory = "{directory}"\n'
        f'[records]\nfile = "{directory}/records.jsonl"\n'
        f'[trace]\nreplay = "{replay}"\ncontrol = "off"\n{services}'
    )


class Turns:
    """How long the reactor's turns take, in the processor time of its own thread.

    A turn is from one look at what is due to the next: timers, calls from other threads, and whatever sockets had. The
    time in which a turn waits for sockets is no processor time, so it isn't counted, nor is what other processes took.
    """

    def __init__(self, reactor: Any) -> None:
        self._run: Callable[[], None] = reactor.runUntilCurrent
        self._last = 0.0
        self.count = 0
        self.longest: list[float] = []
        self.total = 0.0
        self.most = 0.0
        reactor.runUntilCurrent = self._turn

    def _turn(self) -> None:
        now = time.thread_time()
        if self._last:
            took = now - self._last
            self.count += 1
            self.total += took
            if took > self.most:
                self.most = took
            if took > 0.002:
                self.longest.append(took)
        self._last = now
        self._run()

    def take(self) -> dict[str, Any]:
        """Return the figures since the last time, and begin anew."""
        longest = sorted(self.longest, reverse=True)
        found = {
            "turns": self.count,
            "cpu_seconds": round(self.total, 3),
            "most_ms": round(1000 * self.most, 3),
            "longest_ms": [round(1000 * one, 2) for one in longest[:5]],
            "over_10_ms": sum(one > 0.010 for one in longest),
        }
        self.count, self.total, self.most, self.longest = 0, 0.0, 0.0, []
        return found


class Pauses:
    """How long the garbage collector keeps the process."""

    def __init__(self) -> None:
        self._begun = 0.0
        self.pauses: list[tuple[float, int]] = []
        gc.callbacks.append(self._called)

    def _called(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._begun = time.thread_time()
        else:
            self.pauses.append((time.thread_time() - self._begun, info["generation"]))

    def take(self) -> dict[str, Any]:
        """Return the figures since the last time, and begin anew."""
        pauses, self.pauses = self.pauses, []
        return {
            "collections": [sum(one[1] == generation for one in pauses) for generation in range(3)],
            "longest_ms": round(1000 * max((one[0] for one in pauses), default=0.0), 2),
            "seconds": round(sum(one[0] for one in pauses), 4),
        }


class Served:
    """The service in its process."""

    def __init__(self, options: argparse.Namespace) -> None:
        from twisted.internet import reactor
        from twisted.logger import (
            FilteringLogObserver,
            LogLevel,
            LogLevelFilterPredicate,
            globalLogBeginner,
            textFileLogObserver,
        )

        from telephony.server.config import load_configuration
        from telephony.server.service import TelephonyService

        self.reactor: Any = reactor
        self.faults = 0
        self._stopping = False
        # As twistd does: info and above are written, here to a file that nobody reads.
        log = (Path(options.directory) / "served.log").open("w")
        usual = FilteringLogObserver(textFileLogObserver(log), [LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)])
        loud = FilteringLogObserver(self._fault, [LogLevelFilterPredicate(defaultLogLevel=LogLevel.critical)])  # type: ignore[arg-type]
        globalLogBeginner.beginLoggingTo([usual, loud], redirectStandardIO=False)
        path = Path(options.directory) / "telephony.toml"
        path.write_text(configuration_text(Path(options.directory), options.target, options.replay))
        self.service = TelephonyService(load_configuration(path))
        self.turns = Turns(self.reactor) if options.turns else None
        self.pauses = Pauses()
        self.service.privilegedStartService()
        self.service.startService()
        assert self.service.exchange is not None
        self.exchange: Any = self.service.exchange

    def _fault(self, event: object) -> None:
        self.faults += 1

    def run(self, profile: str | None) -> None:
        """Serve until told to stop, or until whoever gives the commands has gone."""

        def read() -> None:
            for line in sys.stdin:
                self.reactor.callFromThread(self._obey, line.strip())
            self.reactor.callFromThread(self._stop)

        threading.Thread(target=read, daemon=True).start()
        self.reactor.callWhenRunning(lambda: self._say({"port": self.exchange.listeners[0][1][1]}))
        if profile is None:
            self.reactor.run(installSignalHandlers=False)
            return
        profiler = cProfile.Profile()
        profiler.runcall(self.reactor.run, installSignalHandlers=False)
        profiler.dump_stats(profile)

    def _obey(self, command: str) -> None:
        if command == "stop":
            self._stop()
        else:
            self._say(self._figures())

    def _stop(self) -> None:
        # Comes twice when whoever says it goes right away.
        if not self._stopping:
            self._stopping = True
            self.service.stopService().addBoth(lambda _result: self.reactor.stop())

    def _figures(self) -> dict[str, Any]:
        exchange = self.exchange
        clock = exchange.media_clock
        return {
            "channels": len(exchange.channels),
            "port_pairs": exchange.ports.in_use,
            "idle_pairs": exchange.ports.idle,
            "streams": len(clock),
            "late_slots": clock.caught_up,
            "skipped_turns": clock.skipped,
            "timers": len(self.reactor.getDelayedCalls()),
            "threads": threading.active_count(),
            "faults": self.faults + exchange.user_agent.counters["faults"],
            "collector": self.pauses.take(),
            "objects": len(gc.get_objects()) if not exchange.channels else None,
            "turns": None if self.turns is None else self.turns.take(),
        }

    @staticmethod
    def _say(what: object) -> None:
        print(json.dumps(what), flush=True)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("core", type=int)
    parser.add_argument("target", type=int)
    parser.add_argument("--replay", default="signalling")
    parser.add_argument("--turns", action="store_true")
    parser.add_argument("--profile")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    Served(options).run(options.profile)


if __name__ == "__main__":
    main()
