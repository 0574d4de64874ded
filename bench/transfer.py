"""N simultaneous transferred calls over real sockets on loopback: what is lost, and what a call costs.

    python bench/transfer.py [--calls 100] [--seconds 60] [--async | --blocking]

The server (an `Exchange` on a `ReactorHost` with an application that answers, transfers, waits for the call to come
back and hangs up) runs in a process of its own, on a core of its own; callers and targets (``bench/phones.py``) run in
this one, on another core. When all calls are transferred and both sides of each hear each other, packets are numbered
and counted for so many seconds; then half of the calls are ended by the caller and half by the target, and nothing may
be left of any.

Prints one JSON object. ``cpu_seconds_per_call_second`` is the server's processor time over calls times seconds;
``memory_per_call_kib`` its resident memory when all talk, less that before the first call, over the calls;
``delay_ms`` is from a phone's sending to the other phone's reading, this process's own lateness included. Ends with
status 0 only if nothing was lost and every call went as it should.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from phones import CALLER, TARGET, Phones

LOOPBACK = "127.0.0.1"
#: What may be asked for: the server has four sockets per call, and RTP ports for no more.
MOST_CALLS = 2000
MOST_SECONDS = 3600.0
#: How long the calls may take to come about, beside the time that dialling at the given rate takes.
SETTLE_SECONDS = 20.0
#: How long packets that are under way at the end may take.
DRAIN_SECONDS = 5.0
STOP_SECONDS = 40.0


# The server: a process of its own


class Server:
    """The phone system to be measured. Told what to do by lines on standard input, answers in lines of JSON."""

    def __init__(self, target: str, blocking: bool) -> None:
        # Only here: the generator's process needs nothing of the product.
        from twisted.internet import reactor
        from twisted.logger import (
            FilteringLogObserver,
            LogLevel,
            LogLevelFilterPredicate,
            globalLogPublisher,
            textFileLogObserver,
        )

        from telephony.call.exchange import Exchange
        from telephony.host import ReactorHost
        from telephony.runner import ReactorRunner

        self.reactor: Any = reactor
        self.faults = 0
        self.transferred = 0
        self.ended = 0
        self._target = target
        self._runner = ReactorRunner(reactor)
        quiet = LogLevelFilterPredicate(defaultLogLevel=LogLevel.error)
        globalLogPublisher.addObserver(FilteringLogObserver(textFileLogObserver(sys.stderr), [quiet]))
        globalLogPublisher.addObserver(FilteringLogObserver(self._fault, [quiet]))  # type: ignore[arg-type]
        self.exchange = Exchange(ReactorHost(reactor), max_calls=4 * MOST_CALLS)
        self.exchange.on_call = self._begin_thread if blocking else self._begin_coroutine
        self.address = self.exchange.listen(f"udp:{LOOPBACK}:0")

    def _fault(self, event: object) -> None:
        self.faults += 1

    # The application, in both flavours

    def _begin_coroutine(self, channel: Any) -> None:
        from twisted.internet.defer import Deferred

        async def main() -> None:
            from telephony.call.resources import TonePlayer

            if await channel.answer() != channel.State.ANSWERED:
                return
            TonePlayer(channel)
            caller = channel.Details.call_from
            state = await channel.retrievable_transfer(self.exchange.channel(), self._target, call_from=caller)
            if state == channel.State.TRANSFERRED:
                self.transferred += 1
                await channel.wait_for_transferred_call_retrieval()
            await channel.hang_up()

        Deferred.fromCoroutine(main()).addBoth(self._over)

    def _begin_thread(self, channel: Any) -> None:
        from telephony.blocking import UASCallChannel
        from telephony.call.resources import TonePlayer

        channel.ExtraChannel = [self.exchange.channel()]
        facade = UASCallChannel(channel, self._runner)

        def main() -> None:
            if facade.answer() != facade.State.ANSWERED:
                return
            TonePlayer(facade)  # type: ignore[arg-type]
            state = facade.retrievable_transfer(
                facade.ExtraChannel[0], self._target, call_from=facade.Details.call_from
            )
            if state == facade.State.TRANSFERRED:
                self._runner.post(self._count_transfer)
                facade.wait_for_transferred_call_retrieval()
            facade.hang_up()

        def run() -> None:
            outcome: object = None
            try:
                main()
            except BaseException as error:
                outcome = error
            self._runner.post(lambda: self._over(outcome))

        self._runner.start(f"call {channel.id}", run)

    def _count_transfer(self) -> None:
        self.transferred += 1

    def _over(self, outcome: object) -> None:
        self.ended += 1
        if outcome is not None:
            self.faults += 1
            print(f"bench/transfer.py: an application ended by {outcome}", file=sys.stderr)

    # What the generator asks

    def run(self, commands: IO[str], profile: cProfile.Profile | None) -> None:
        """Serve until told to stop, or until whoever gives the commands has gone."""

        def read() -> None:
            for line in commands:
                self.reactor.callFromThread(self._obey, line.strip())
            self.reactor.callFromThread(self._stop)

        threading.Thread(target=read, daemon=True).start()
        self._say({"address": self.address})
        if profile is None:
            self.reactor.run(installSignalHandlers=False)
            return
        profile.runcall(self.reactor.run, installSignalHandlers=False)
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(30)

    def _obey(self, command: str) -> None:
        if command == "stop":
            self._stop()
        else:
            self._say(self._figures())

    def _stop(self) -> None:
        if self.reactor.running and not self.exchange.closing:
            self.exchange.close().addCallback(lambda _none: self.reactor.stop())

    def _figures(self) -> dict[str, Any]:
        exchange = self.exchange
        agent = exchange.user_agent
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "transferred": self.transferred,
            "ended": self.ended,
            "channels": len(exchange.channels),
            "port_pairs": exchange.ports.in_use,
            "streams": len(exchange.media_clock),
            "late_slots": exchange.media_clock.caught_up,
            "skipped_turns": exchange.media_clock.skipped,
            "faults": self.faults + agent.counters["faults"],
            "threads": threading.active_count(),
        }

    @staticmethod
    def _say(what: object) -> None:
        print(json.dumps(what), flush=True)


# This process: the generator, and what it knows of the server's process


class Child:
    """The server's process."""

    def __init__(self, target: str, options: argparse.Namespace, core: int) -> None:
        command = [sys.executable, __file__, "--serve", target, "--core", str(core)]
        command.append("--blocking" if options.blocking else "--async")
        if options.profile:
            command.append("--profile")
        # Run as a script, this file has only its own folder on the path.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.address: tuple[str, int] = tuple(self._heard()["address"])

    def _heard(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("bench/transfer.py: the server has ended; its reason is above")
        return json.loads(line)

    def figures(self) -> dict[str, Any]:
        """Ask for its figures."""
        assert self.process.stdin is not None
        self.process.stdin.write("figures\n")
        self.process.stdin.flush()
        return dict(self._heard())

    def resident_kib(self) -> int:
        """Return how much memory it has, in KiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024

    def waited_seconds(self) -> float:
        """Return how long its main thread was ready to run and had no core."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) * 1e-9

    def end(self) -> int:
        """Stop it, by its own means if it can; return its status."""
        process = self.process
        assert process.stdin is not None
        try:
            process.stdin.write("stop\n")
            process.stdin.close()
        except OSError:
            pass  # it has ended already
        for signal_number in (0, signal.SIGTERM, signal.SIGKILL):
            process.send_signal(signal_number)
            try:
                return process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        return -1


ROOT = Path(__file__).resolve().parent.parent


def dropped(process: int) -> int:
    """Return how many datagrams the system had no room for at the UDP sockets of a process."""
    sockets = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        try:
            name = str(descriptor.readlink())
        except OSError:
            continue  # closed meanwhile
        if name.startswith("socket:["):
            sockets.add(name[8:-1])
    rows = (line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:])
    return sum(int(row[-1]) for row in rows if row[9] in sockets)


class Run:
    """One run of the bench, from the first call to the last BYE."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        cores = sorted(os.sched_getaffinity(0))
        self.cores = (cores[0], cores[-1])
        os.sched_setaffinity(0, {cores[0]})
        self.complaints: list[str] = []

    def demand(self, met: bool, complaint: str) -> bool:
        """Note what went wrong."""
        if not met:
            self.complaints.append(complaint)
        return met

    def report(self) -> dict[str, Any]:
        """Run it all."""
        options = self.options
        # The target's port has to be known before the server starts, and the server's before the phones can call.
        phones = Phones(options.calls, (LOOPBACK, 0), options.rate)
        child = Child(f"sip:t@{LOOPBACK}:{phones.target_port}", options, self.cores[1])
        try:
            phones.server = child.address
            return self._with(phones, child)
        finally:
            phones.close()
            self.status = child.end()

    def _with(self, phones: Phones, child: Child) -> dict[str, Any]:
        options = self.options
        calls = options.calls
        memory_before = child.resident_kib()
        phones.restart_grid()
        phones.dial()
        begun = phones.run(lambda: phones.talking() == calls, calls / options.rate + SETTLE_SECONDS)
        self.demand(begun, f"only {phones.talking()} of {calls} calls came about; refused: {phones.failed()}")
        phones.for_seconds(1.0)

        before, dropped_before = child.figures(), dropped(child.process.pid)
        waited = child.waited_seconds()
        own_cpu, wall = time.process_time(), time.perf_counter()
        phones.restart_grid()
        phones.begin_measuring()
        phones.for_seconds(options.seconds)
        phones.end_measuring()
        wall, own_cpu = time.perf_counter() - wall, time.process_time() - own_cpu
        after = child.figures()
        waited = child.waited_seconds() - waited
        memory = child.resident_kib() - memory_before
        phones.restart_grid()
        phones.run(lambda: not phones.missing(), DRAIN_SECONDS)

        directions = {"caller_to_target": phones.accounts(CALLER), "target_to_caller": phones.accounts(TARGET)}
        others = phones.others()
        drops = {"server": dropped(child.process.pid) - dropped_before, "generator": dropped(os.getpid())}
        phones.hang_up()
        ended = phones.run(lambda: phones.over() == calls, calls / options.rate + SETTLE_SECONDS)
        self.demand(ended, f"only {phones.over()} of {calls} calls ended")
        phones.for_seconds(0.5)
        last = child.figures()
        self._judge(directions, others, before, last)
        cpu = after["cpu_seconds"] - before["cpu_seconds"]
        return {
            "ok": not self.complaints,
            "calls": calls,
            "transferred": last["transferred"],
            "seconds": round(wall, 2),
            "application": "blocking" if options.blocking else "async",
            "lost": sum(one["lost"] for one in directions.values()),
            **directions,
            "not_of_a_phone": others,
            "cpu_seconds_per_call_second": round(cpu / (calls * wall), 6),
            "memory_per_call_kib": round(memory / calls, 1),
            "delay_ms": phones.delays.milliseconds(),
            "server": {
                "core": self.cores[1],
                "cpu_seconds": round(cpu, 3),
                "share_of_core": round(cpu / wall, 3),
                "seconds_without_core": round(waited, 3),
                "packets_per_cpu_second": round(sum(one["received"] for one in directions.values()) / cpu),
                "resident_kib": memory_before + memory,
                "socket_drops": drops["server"],
                "late_slots": after["late_slots"] - before["late_slots"],
                "skipped_turns": after["skipped_turns"] - before["skipped_turns"],
                "faults": last["faults"],
                "threads": after["threads"],
                "left": {name: last[name] for name in ("channels", "port_pairs", "streams")},
            },
            "generator": {
                "core": self.cores[0],
                "cpu_seconds": round(own_cpu, 3),
                "lateness_ms": phones.lateness.milliseconds(),
                "socket_drops": drops["generator"],
                **phones.counters,
            },
            "complaints": self.complaints,
        }

    def _judge(
        self, directions: dict[str, dict[str, int]], others: int, before: dict[str, Any], last: dict[str, Any]
    ) -> None:
        calls = self.options.calls
        for name, account in directions.items():
            for what in ("lost", "duplicated", "reordered", "misnumbered", "not_sent"):
                self.demand(not account[what], f"{account[what]} packets {what} from {name.replace('_', ' ')}")
            self.demand(account["sent"] >= calls * self.options.seconds * 49, f"too few packets from {name}")
        self.demand(not others, f"{others} packets came that no phone had said")
        self.demand(last["transferred"] == calls, f"{last['transferred']} of {calls} calls were transferred")
        self.demand(last["ended"] == calls, f"{last['ended']} of {calls} applications ended")
        self.demand(not last["faults"], f"{last['faults']} faults logged by the server")
        left = {name: last[name] for name in ("channels", "port_pairs", "streams") if last[name]}
        self.demand(not left, f"left in the server after the last call: {left}")


def raise_limit() -> None:
    """Allow this process as many open files as it may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def number(least: float, most: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    """Return a type for argparse: a number between two."""

    def read(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least:g} to {most:g}")
        return value

    return read


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench, or be its server."""
    parser = argparse.ArgumentParser(description="Simultaneous transferred calls on loopback; prints JSON.")
    parser.add_argument("--calls", type=number(1, MOST_CALLS, int), default=100)
    parser.add_argument("--seconds", type=number(1, MOST_SECONDS, float), default=60.0)
    parser.add_argument("--rate", type=number(0.1, 1000, float), default=25.0, help="calls begun (and ended) a second")
    flavour = parser.add_mutually_exclusive_group()
    flavour.add_argument("--async", dest="blocking", action="store_false", help="the application is a coroutine")
    flavour.add_argument("--blocking", dest="blocking", action="store_true", help="it runs in threads")
    parser.set_defaults(blocking=False)
    parser.add_argument("--profile", action="store_true", help="say on stderr where the server's time went")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    raise_limit()
    if options.serve:
        os.sched_setaffinity(0, {options.core})
        Server(options.serve, options.blocking).run(sys.stdin, cProfile.Profile() if options.profile else None)
        return 0
    run = Run(options)
    report = run.report()
    if run.status:
        report["ok"] = False
        report["complaints"].append(f"the server ended with status {run.status}")
    print(json.dumps(report, indent=2))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
