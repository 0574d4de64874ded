"""The blocking form of the verbs (api.md sections 1, 4 and 6; architecture.md rule 14), over loopback."""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from telephony import aio, blocking
from telephony.blocking import GRACE_SECONDS, Telephony, UASCallChannel, limit_of
from telephony.call import resources
from telephony.call.channel import CallChannel
from telephony.call.verbs import is_verb
from telephony.errors import Error, Hangup
from telephony.runner import ReactorRunner

ROOT = Path(__file__).parents[1]
RESOURCES = ("FilePlayer", "FileRecorder", "DTMFDetector", "DTMFPlayer", "TonePlayer")


def run_script(text: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, whose reactor is its own too."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


class DerivationTests(SynchronousTestCase):
    """Rule 14: facade methods are derived from the verbs, so that they can't drift."""

    def check(self, facade: type, original: type) -> None:
        """Every public method of the original is in the facade, with its arguments and text."""
        for name, member in inspect.getmembers(original, inspect.isfunction):
            if name.startswith("_") or not (is_verb(member) or name in ("state", "cause", "transfer_cause")):
                continue
            ours = getattr(facade, name, None)
            self.assertIsNotNone(ours, f"{facade.__name__} has no {name}")
            self.assertEqual(inspect.signature(ours), inspect.signature(member), name)
            self.assertEqual(ours.__doc__, member.__doc__)

    def test_channel(self) -> None:
        """Every verb of CallChannel, blocking and as a Future."""
        self.check(UASCallChannel, CallChannel)
        self.check(aio.AioCallChannel, CallChannel)

    def test_resources(self) -> None:
        """Every verb of every resource."""
        for name in RESOURCES:
            original = getattr(resources, name)
            self.check(getattr(blocking, f"UAS{name}"), original)
            self.check(getattr(aio, f"Aio{name}"), original)

    def test_enumerations(self) -> None:
        """api.md 3: enumerations hang off the class and the instance."""
        for name in ("State", "Cause", "TransferCause", "CallFarEndType", "LiveSpeakerDetectionSettings"):
            for facade in (UASCallChannel, aio.AioCallChannel):
                self.assertIs(getattr(facade, name), getattr(CallChannel, name))

    def test_limits(self) -> None:
        """api.md 4: a verb ends within its limit plus one second; None is no limit."""
        call = limit_of(CallChannel.call)
        self.assertEqual(call(("sip:a@b",), {}), 120 + GRACE_SECONDS)
        self.assertEqual(call(("sip:a@b", "", 5), {}), 5 + GRACE_SECONDS)
        self.assertIsNone(call(("sip:a@b",), {"seconds_timeout": None}))
        self.assertIsNone(limit_of(CallChannel.ring)((None,), {}))
        self.assertEqual(limit_of(CallChannel.hang_up)((), {}), 60 + GRACE_SECONDS)
        for mistake in (-1, float("nan"), "5"):  # refused by the verb, which gets the time to say so
            self.assertEqual(call(("sip:a@b", "", mistake), {}), GRACE_SECONDS)
        self.assertRaises(TypeError, call, (), {})
        self.assertRaises(TypeError, call, ("sip:a@b",), {"seconds": 1})


class PhoneTests(TestCase):
    """Two phones of this process call each other; what they do runs in a thread, as a script would."""

    def in_thread(self, script: Callable[[Telephony, Telephony], Any]) -> Deferred[Any]:
        runner = ReactorRunner(reactor)

        def run() -> Any:
            with (
                Telephony(runner=runner, media_directory=ROOT / "examples" / "media") as phone,
                Telephony(["udp:127.0.0.1:0", "tcp:127.0.0.1:0"], runner=runner) as far,
            ):
                return script(phone, far)

        return deferToThread(run)

    def uri(self, phone: Telephony, user: str = "1") -> str:
        return f"sip:{user}@127.0.0.1:{phone.listening[0][1]}"

    async def test_call_and_wait_for_call(self) -> None:
        """api.md 1: wait_for_call returns a channel in CALL_INCOMING."""

        def script(phone: Telephony, far: Telephony) -> None:
            channel = phone.channel()
            channel.start_call(self.uri(far))
            call = far.wait_for_call(seconds_timeout=30)
            assert call is not None
            self.assertIs(call.state(), call.State.CALL_INCOMING)
            self.assertIs(call.answer(), call.State.ANSWERED)
            self.assertIs(channel.wait_for_answer(), channel.State.ANSWERED)
            self.assertIs(channel.hang_up(), channel.State.IDLE)
            self.assertIs(call.wait_for_idle(30), call.State.IDLE)
            self.assertIs(call.cause(), call.Cause.NORMAL)
            self.assertRaises(Hangup, call.answer)
            self.assertRaises(Hangup, channel.FilePlayer.play, "greeting.wav")

        await self.in_thread(script)

    async def test_serve(self) -> None:
        """api.md 1: serve runs a function per call; when it ends, its call is released."""

        def script(phone: Telephony, far: Telephony) -> None:
            digits: list[str] = []

            def main(channel: UASCallChannel) -> None:
                channel.answer()
                digits.append(channel.DTMFDetector.get_digits(count=2, seconds_predigits_timeout=30))
                raise Hangup("as uncaught as it gets")

            far.serve("33*", main)
            channel = phone.channel()
            self.assertIs(channel.call(self.uri(far, "3300")), channel.State.ANSWERED)
            channel.DTMFPlayer.play("42")
            self.assertIs(channel.wait_for_idle(30), channel.State.IDLE)
            self.assertEqual(digits, ["42"])
            self.assertIs(channel.call(self.uri(far, "44")), channel.State.IDLE)
            self.assertEqual((channel.cause(), channel.Details.raw_cause), (channel.Cause.UNOBTAINABLE, 404))

        await self.in_thread(script)

    async def test_transfer(self) -> None:
        """api.md 5: retrievable_transfer takes facades; TonePlayer(channel) makes the channel's own kind."""
        from telephony import TonePlayer

        def script(phone: Telephony, far: Telephony) -> None:
            def main(channel: UASCallChannel) -> None:
                channel.answer()
                channel.wait_for_idle()

            far.serve("*", main)
            channel, other_call = phone.channel(), phone.channel()
            channel.call(self.uri(far))
            self.assertIsNone(channel.TonePlayer)
            player: Any = TonePlayer(channel)  # type: ignore[arg-type]
            self.assertIsInstance(player, blocking.UASTonePlayer)
            self.assertEqual(player, channel.TonePlayer)
            self.assertIs(channel.retrievable_transfer(other_call, self.uri(far)), channel.State.TRANSFERRED)
            self.assertIs(channel.transfer_cause(), channel.TransferCause.NORMAL)
            self.assertIs(channel.retrieve_transferred_call(), channel.State.ANSWERED)
            self.assertIs(other_call.state(), channel.State.ANSWERED)
            self.assertTrue(channel.connect(other_call))
            self.assertTrue(channel.disconnect())

        await self.in_thread(script)

    async def test_nobody_calls(self) -> None:
        """wait_for_call returns None when its time is up."""
        self.assertIsNone(await self.in_thread(lambda phone, far: far.wait_for_call("*", 0.0)))

    async def test_bad_arguments(self) -> None:
        """Issue 2, 6: a clear sentence each, nothing sent."""

        def script(phone: Telephony, far: Telephony) -> None:
            channel = phone.channel()
            self.assertIn("'nonsense'", str(self.assertRaises(Error, channel.call, "nonsense")))
            self.assertRaises(Error, channel.call, "sip:a@127.0.0.1", seconds_timeout="long")
            self.assertRaises(TypeError, channel.call)
            self.assertRaises(Error, far.serve, "", print)
            self.assertRaises(Error, far.serve, "1", None)

        await self.in_thread(script)

    async def test_cannot_listen(self) -> None:
        """A listener that is taken, or none at all, is an Error that names it."""
        runner = ReactorRunner(reactor)

        def script(phone: Telephony, far: Telephony) -> None:
            taken = f"udp:127.0.0.1:{far.listening[0][1]}"
            self.assertIn(taken, str(self.assertRaises(Error, Telephony, ["udp:127.0.0.1:0", taken], runner=runner)))
            self.assertIn("tls", str(self.assertRaises(Error, Telephony, "tls:127.0.0.1:0", runner=runner)))

        await self.in_thread(script)

    async def test_closed(self) -> None:
        """Leaving the with block releases every call, and ends every wait."""
        phones: list[Telephony] = []
        channels: list[UASCallChannel] = []

        def script(phone: Telephony, far: Telephony) -> None:
            phones.append(far)
            far.serve("*", lambda channel: (channel.answer(), channel.wait_for_idle()))
            channels.append(phone.channel())
            self.assertIs(channels[0].call(self.uri(far)), channels[0].State.ANSWERED)

        await self.in_thread(script)
        self.assertIs(channels[0].state(), UASCallChannel.State.IDLE)
        phones[0].close()
        self.assertRaises(Error, phones[0].channel)
        self.assertRaises(Error, phones[0].wait_for_call)

    async def test_not_in_the_reactor_thread(self) -> None:
        """Rule 14: a blocking verb in the reactor's thread is refused."""
        channels: list[UASCallChannel] = []

        def script(phone: Telephony, far: Telephony) -> None:
            channels.append(phone.channel())

        await self.in_thread(script)
        self.assertIn("reactor's own thread", str(self.assertRaises(Error, channels[0].hang_up)))


class ProcessTests(SynchronousTestCase):
    """What a whole process does."""

    def test_import_leaves_no_reactor(self) -> None:
        """Issue 2, 7: import telephony, and naming what is in it, installs no reactor."""
        done = run_script("""
            import sys, telephony
            for name in telephony.__all__:
                getattr(telephony, name)
            import telephony.aio, telephony.cli, telephony.server.service, telephony.server.switchboard
            assert "twisted.internet.reactor" not in sys.modules
            try:
                telephony.Telefony
            except AttributeError as error:
                print(error)
        """)
        self.assertEqual(done.stderr, "")
        self.assertIn("Telephony", done.stdout)

    def test_bare_import_is_light(self) -> None:
        """PEP 562: the bare import loads neither Twisted nor numpy."""
        done = run_script("""
            import sys, telephony
            print([name for name in sys.modules if name.split(".")[0] in ("twisted", "numpy", "av")])
        """)
        self.assertEqual((done.stdout, done.stderr), ("[]\n", ""))

    def test_one_reactor_thread(self) -> None:
        """api.md 1: a second Telephony shares the reactor thread; the process ends by itself afterwards."""
        done = run_script("""
            import signal, threading
            from telephony import Telephony
            before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
            with Telephony() as one, Telephony() as two:
                print([thread.name for thread in threading.enumerate()].count("telephony-reactor"))
            with Telephony() as three:
                print(three.listening[0][0])
            assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
        """)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "1\n127.0.0.1\n", ""))

    def test_interrupted_verb(self) -> None:
        """api.md 1: Ctrl-C inside a verb ends it cleanly: what it began is cancelled on the wire."""
        done = run_script("""
            import os, signal
            from telephony import Telephony
            with Telephony() as phone, Telephony() as far:
                def main(channel):
                    channel.ring()
                    os.kill(os.getpid(), signal.SIGINT)
                    done.append(f"far {channel.wait_for_idle(30)} {channel.cause()}")
                done = []
                far.serve("*", main)
                channel = phone.channel()
                try:
                    channel.call(f"sip:1@127.0.0.1:{far.listening[0][1]}", seconds_timeout=None)
                except KeyboardInterrupt:
                    print("interrupted", channel.wait_for_idle(30), flush=True)
                while not done:
                    channel.wait_for_idle(0)
                print(*done)  # by one thread: two would write into each other's lines
        """)
        self.assertEqual(done.stdout.splitlines(), ["interrupted IDLE", "far IDLE NOANSWER"], done.stderr)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_signal_that_wakes_nobody(self) -> None:
        """api.md 1: Ctrl-C ends a verb also when the signal reached another thread, and woke no wait."""
        done = run_script("""
            import os, signal
            from telephony import Telephony
            with Telephony() as phone, Telephony() as far:
                def main(channel):
                    channel.ring()
                    os.kill(os.getpid(), signal.SIGINT)
                    done.append(channel.wait_for_idle(30))
                done = []
                far.serve("*", main)
                channel = phone.channel()
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # in this thread only
                try:
                    channel.call(f"sip:1@127.0.0.1:{far.listening[0][1]}", seconds_timeout=None)
                except KeyboardInterrupt:
                    interrupted = channel.wait_for_idle(30)
                while not done:
                    channel.wait_for_idle(0)
                print(interrupted, *done)
        """)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "IDLE IDLE\n", ""))

    def test_left_open(self) -> None:
        """A script that never closes its phone: its calls are hung up when the process ends."""
        done = run_script("""
            from telephony import Telephony
            phone, far = Telephony(), Telephony()
            far.serve("*", lambda channel: (channel.answer(), print(channel.wait_for_idle(30), flush=True)))
            channel = phone.channel()
            print(channel.call(f"sip:1@127.0.0.1:{far.listening[0][1]}"), flush=True)
        """)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.splitlines()[0], "ANSWERED")

    def test_stopped_reactor(self) -> None:
        """Rule 14: when the reactor stops, waits end with an Error, and a new phone says why it can't be."""
        done = run_script("""
            from telephony import Telephony, Error
            phone = Telephony()
            from twisted.internet import reactor
            reactor.callFromThread(reactor.callLater, 0, reactor.stop)
            try:
                phone.wait_for_call()
            except Error as error:
                print(error)
            try:
                Telephony()
            except Error as error:
                print(error)
        """)
        first, second = done.stdout.splitlines()
        self.assertIn("reactor has stopped", first)
        self.assertIn("can't be started again", second)
        self.assertEqual(done.returncode, 0)

    def test_inside_a_twisted_program(self) -> None:
        """A phone made in the reactor's own thread is refused, with what to use in its place."""
        done = run_script("""
            from twisted.internet import reactor
            from telephony import Telephony, Error
            def start():
                try:
                    Telephony()
                except Error as error:
                    print(error)
                reactor.stop()
            reactor.callWhenRunning(start)
            reactor.run()
        """)
        self.assertIn("Exchange", done.stdout, done.stderr)
