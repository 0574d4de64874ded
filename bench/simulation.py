"""How many times faster than real time a talking call runs on the simulated network.

    python bench/simulation.py [--seconds 120] [--repeat 3] [--profile] [--json]
    python bench/simulation.py --table
    python bench/simulation.py --hold [--seconds 3600]

Two phones with media and the server between them: one calls in, the application transfers it to the other, both talk,
each with a tone of its own. What is timed is the talking, so many simulated seconds of it; before and after it nothing
is. Afterwards each phone's received audio is judged: the other's tone must have been heard all along, else the number
is worth nothing and the status is 1. The best of the repetitions counts; what else ran on the machine shows in the
others.

``--table`` times the whole table of races instead, every scenario with every seed (`tests.test_races`; under 60 s is
wanted), and ``--hold`` a transferred call that both ends hold, an hour by default (under 180 s is wanted), with RTCP
and session timers running: the caller refreshes its leg by re-INVITE, we refresh the other one by UPDATE. Above these
limits the status is 1.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.reporter import TestResult
from twisted.trial.runner import TestLoader

from telephony.call.channel import CallChannel
from telephony.call.constants import State
from telephony.call.exchange import Exchange
from telephony.call.resources import TonePlayer
from telephony.testing.audio import MOST_PACKETS
from telephony.testing.network import SimulatedNetwork
from telephony.testing.phone import Phone
from telephony.testing.sounds import tone

SERVER = "10.0.0.1"
#: What each phone says, in Hz.
TONES = {"alice": 440, "bob": 700}
PACKETS_PER_SECOND = 50
#: At the edges of what is judged a packet may still be under way, or the detector's block half full (seconds).
EDGE = 0.2
#: What an ear remembers, less a little (seconds).
MOST_JUDGED = 240.0
#: In how many seconds the table is to be played, and an hour on hold to pass.
TABLE_LIMIT = 60.0
HOLD_LIMIT = 180.0
#: The last RTCP report is at most so old (seconds); RFC 3550 6.3.1: 5 s times 0.5 to 1.5, over 1.218, is 6.2.
REPORT_AGE = 10.0
#: The session timer of both legs (seconds): RFC 4028's own, refreshed at half of it.
SESSION = 1800


class Broken(Exception):  # noqa: N818 - what the bench says when its number means nothing
    """The call that was to be measured did not do what it should."""


class Talk:
    """A transferred call in simulated time: alice and bob talk by way of the server."""

    def __init__(self, seed: int, session_timer: int | None = None) -> None:
        self.session_timer = session_timer
        self.network = SimulatedNetwork(seed)
        self.exchange = Exchange(self.network.host(SERVER))
        self.exchange.listen(f"udp:{SERVER}:5060")
        self.phones = {name: self._phone(name, number) for number, name in enumerate(TONES, 1)}
        self.state: State | None = None
        self.channel: CallChannel | None = None

    def _phone(self, name: str, number: int) -> Phone:
        ip = f"10.0.1.{number}"
        phone = Phone(
            self.network.host(ip), (ip, 5060), name, auto_ring=True, auto_answer=0.5, session_timer=self.session_timer
        )
        phone.says(tone(TONES[name]))
        return phone

    async def _application(self, channel: CallChannel) -> None:
        self.channel = channel
        await channel.answer()
        TonePlayer(channel)
        self.state = await channel.retrievable_transfer(self.exchange.channel(), self.phones["bob"].uri)

    def begin(self) -> None:
        """Place the call, have it transferred, and let both talk for a second."""
        failures: list[object] = []

        def on_call(channel: CallChannel) -> None:
            Deferred.fromCoroutine(self._application(channel)).addErrback(failures.append)

        self.exchange.on_call = on_call
        self.phones["alice"].dial(f"sip:3300@{SERVER}:5060")
        self.network.advance(5)
        if self.state is not State.TRANSFERRED or failures:
            raise Broken(f"the call was to be TRANSFERRED and is {self.state}: {failures}")

    def judge(self, began: float, ended: float) -> None:
        """Raise unless each phone heard the other's tone, and that without a hole, between two moments."""
        for name, phone in self.phones.items():
            got = len([one for one in phone.call.media.audio.ear.heard_packets(began) if one.time <= ended])
            expected = min((ended - began) * PACKETS_PER_SECOND, MOST_PACKETS)
            if abs(got - expected) > 2:
                raise Broken(f"{name} was to get {expected:.0f} packets and got {got}")
        began = max(began, ended - MOST_JUDGED) + EDGE
        ended -= EDGE
        for name, phone in self.phones.items():
            said = next(frequency for other, frequency in TONES.items() if other != name)
            heard = phone.heard(said, since=began, until=ended)
            total = sum(one.end_s - one.start_s for one in heard)
            if len(heard) != 1 or total < ended - began - EDGE:
                raise Broken(f"{name} was to hear {said} Hz for {ended - began:.1f} s and heard {heard}")
        faults = [fault for phone in self.phones.values() for fault in phone.faults()]
        if faults:
            raise Broken(f"phones found faults: {faults}")

    def hold(self) -> None:
        """Let both ends hold."""
        for phone in self.phones.values():
            if self.network.run_until(phone.hold("inactive"), 10) != 200:
                raise Broken(f"{phone.name} could not hold")
        self.network.advance(2)

    def judge_hold(self, began: float) -> None:
        """Raise unless the call is still there, without a packet of audio, and with RTCP both ways."""
        state = self.channel.state() if self.channel is not None else None
        if state is not State.TRANSFERRED:
            raise Broken(f"the call was to be TRANSFERRED and is {state}")
        now = self.network.clock.seconds()
        due = int((now - began) // (SESSION / 2))
        refreshed = {
            "alice": self.phones["alice"].call.timer.refreshed,
            "bob": len(self.phones["bob"].got("UPDATE")),
        }
        if min(refreshed.values()) < due:
            raise Broken(f"each leg was to be refreshed {due} times; refreshed were {refreshed}")
        for phone in self.phones.values():
            ear = phone.call.media.audio.ear
            if ear.heard_packets(began):
                raise Broken(f"{phone.name} holds and got {len(ear.heard_packets(began))} packets")
            if not ear.reports or ear.reports[-1].time < now - REPORT_AGE:
                raise Broken(f"{phone.name} was to get RTCP, the last of which came {list(ear.reports)[-1:]}")
        for packet in self.network.media:
            if packet[0] >= began and not 200 <= packet[3][1] <= 204:
                raise Broken(f"audio on hold at {packet[0]:.3f}")
        faults = [fault for phone in self.phones.values() for fault in phone.faults()]
        if faults:
            raise Broken(f"phones found faults: {faults}")

    def end(self) -> None:
        """Hang up, and see that nothing is left."""
        self.network.run_until(self.phones["alice"].hang_up(), 10)
        self.network.run_until(self.exchange.close(), 100)
        self.network.advance(100)
        for phone in self.phones.values():
            self.network.run_until(phone.close())
        self.network.advance(1)
        left = self.network.leftovers()
        if left:
            raise Broken(f"left over: {left}")


def measure(seconds: float, seed: int, profile: cProfile.Profile | None) -> dict[str, float]:
    """Let a call talk for so many simulated seconds; return what it took."""
    talk = Talk(seed)
    talk.begin()
    network = talk.network
    began, packets = network.clock.seconds(), network.packets
    if profile is not None:
        profile.enable()
    wall, cpu = time.perf_counter(), time.process_time()
    network.advance(seconds)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if profile is not None:
        profile.disable()
    packets = network.packets - packets
    talk.judge(began, network.clock.seconds())
    talk.end()
    return {
        "times_real_time": round(seconds / wall, 1),
        "wall_seconds": round(wall, 4),
        "cpu_seconds": round(cpu, 4),
        "packets_per_simulated_second": round(packets / seconds, 1),
        "microseconds_per_packet": round(wall / packets * 1e6, 2),
    }


def time_table() -> dict[str, float]:
    """Play the whole table of races; return how many scenarios and seconds. Broken where one is not as marked."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    suite = TestLoader().loadByName("tests.test_races")  # type: ignore[no-untyped-call]
    result = TestResult()
    wall, cpu = time.perf_counter(), time.process_time()
    suite.run(result)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    wrong = [test.id() for test, *_ in (*result.failures, *result.errors, *result.unexpectedSuccesses)]
    if wrong:
        raise Broken(f"not as they should be: {', '.join(wrong)}")
    return {
        "scenarios": result.testsRun,
        "unbuilt": len(result.expectedFailures),
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
    }


def time_hold(seconds: float, seed: int) -> dict[str, float]:
    """Let a transferred call be held by both ends for so many simulated seconds; return what it took."""
    talk = Talk(seed, SESSION)
    talk.begin()
    talk.hold()
    network = talk.network
    began, packets = network.clock.seconds(), network.packets
    wall, cpu = time.perf_counter(), time.process_time()
    network.advance(seconds)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    packets = network.packets - packets
    talk.judge_hold(began)
    talk.end()
    return {
        "simulated_seconds": seconds,
        "packets": packets,
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
    }


def limited(options: argparse.Namespace) -> int:
    """Do what has a limit: the table, or the hold; return the status."""
    if options.table:
        taken, limit = time_table(), TABLE_LIMIT
        text = (
            f"{taken['scenarios']:.0f} scenarios of the race table, {taken['unbuilt']:.0f} of them of things unbuilt,"
        )
    else:
        taken, limit = time_hold(options.seconds or 3600.0, options.seed), HOLD_LIMIT
        text = (
            f"{taken['simulated_seconds']:g} s of a transferred call on hold at both ends (RTCP, "
            f"{taken['packets']:.0f} packets; session timers running)"
        )
    if options.json:
        print(json.dumps({**taken, "limit": limit}))
    else:
        print(f"{text} in {taken['wall_seconds']:.1f} s, {taken['cpu_seconds']:.1f} s of one core; limit {limit:.0f} s")
    return int(taken["wall_seconds"] > limit)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, judge and print."""
    parser = argparse.ArgumentParser(description="How many times faster than real time a simulated call runs.")
    parser.add_argument("--seconds", type=float, help="simulated seconds (2 to 3600): 120 of talking, 3600 on hold")
    parser.add_argument("--table", action="store_true", help="time the whole table of races instead")
    parser.add_argument("--hold", action="store_true", help="time a call that both ends hold instead")
    parser.add_argument("--repeat", type=int, default=3, help="how often; the best counts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="say where the time goes (and so be slower)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if not 2 <= (options.seconds or 120) <= 3600 or not 1 <= options.repeat <= 100:
        parser.error("--seconds is 2 to 3600, --repeat 1 to 100")
    profile = cProfile.Profile() if options.profile else None
    seconds = options.seconds or 120.0
    try:
        if options.table or options.hold:
            return limited(options)
        runs = [measure(seconds, options.seed, profile) for _ in range(options.repeat)]
    except Broken as error:
        print(f"bench/simulation.py: {error}", file=sys.stderr)
        return 1
    best = max(runs, key=lambda run: run["times_real_time"])
    if options.json:
        print(json.dumps({**best, "simulated_seconds": seconds, "runs": runs}))
    else:
        others = ", ".join(f"{run['times_real_time']:.0f}" for run in runs)
        print(
            f"{best['times_real_time']:.0f} times real time (of {others}): "
            f"{seconds:g} s of a transferred, talking call in {best['wall_seconds']:.3f} s, "
            f"{best['packets_per_simulated_second']:.0f} packets per simulated second, "
            f"{best['microseconds_per_packet']:.1f} us each; both heard each other all along"
        )
    if profile is not None:
        pstats.Stats(profile, stream=sys.stderr if options.json else sys.stdout).sort_stats("tottime").print_stats(30)
    return 0


if __name__ == "__main__":
    sys.exit(main())
