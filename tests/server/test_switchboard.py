"""Calls, instances and records of a server (api.md sections 2 and 7), with a fake exchange and no threads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from telephony.blocking import UASCallChannel
from telephony.call.constants import State
from telephony.errors import Error, Hangup
from telephony.server.config import load_configuration
from telephony.server.drain import Phase
from telephony.server.records import ReturnCode
from telephony.server.switchboard import Switchboard

from .fakes import APPLICATION, FakeChannel, FakeExchange, ThreadlessRunner, write_application

OUTBOUND = APPLICATION.replace("application_parameters)", "application_parameters, outbound_parameters)", 1)
BLOCKING = """
__uas_identify__ = "application"
__uas_version__ = "1"
runs = []
behave = lambda *arguments: 0
def main(channel, application_instance_id, file_man, my_log, application_parameters):
    runs.append((channel, application_instance_id, file_man, my_log, application_parameters))
    return behave(*runs[-1])
"""
SERVICES = """
[limits]
max_calls = 5
[[service]]
name = "reception"
match = "3300"
application = "app.py"
parameters = "the parameters"
extra_channels = 2
max_calls = 2
[[service]]
name = "blocking"
match = "33*"
application = "threads.py"
[[service]]
name = "reminder"
direction = "outbound"
application = "out.py"
"""


class SwitchboardCase(SynchronousTestCase):
    """A switchboard with three services on a fake exchange."""

    text = SERVICES

    def setUp(self) -> None:
        directory = Path(self.mktemp()).absolute()
        for name, text in (("app.py", APPLICATION), ("threads.py", BLOCKING), ("out.py", OUTBOUND)):
            write_application(directory, name, text)
        (directory / "t.toml").write_text(self.text)
        self.configuration = load_configuration(directory / "t.toml")
        self.exchange = FakeExchange()
        self.runner = ThreadlessRunner()
        self.board = Switchboard(self.configuration, self.exchange, self.runner, wall=lambda: 1_000_000_000.25)  # type: ignore[arg-type]

    def module(self, name: str) -> dict[str, Any]:
        (service,) = (one for one in self.configuration.services if one.name == name)
        return service.application.main.__globals__

    @property
    def runs(self) -> list[Any]:
        """What the asynchronous application's main was called with."""
        return self.module("reception")["runs"]

    def records(self) -> list[dict[str, Any]]:
        self.board._records.flush()
        path = self.configuration.records.file
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def codes(self) -> list[int]:
        return [one["return_code"] for one in self.records()]


class AdmissionTests(SwitchboardCase):
    """Who gets in, and to whom."""

    def test_matching(self) -> None:
        """api.md 7: the user part picks the service; itself first, then the closest pattern; else 404."""
        self.assertIsNone(self.exchange.invite("3300"))
        self.assertIsNone(self.exchange.invite("3399"))
        self.assertEqual(self.exchange.invite("44"), 404)
        self.exchange.call("3300")
        self.exchange.call("3301")
        self.assertEqual(len(self.runs), 1)
        self.assertEqual(len(self.runner.threads), 1)

    def test_service_limit(self) -> None:
        """api.md 7: beyond max_calls 503 with Retry-After, before a thread is taken."""
        self.exchange.call("3300")
        self.exchange.call("3300")
        self.assertEqual(self.exchange.invite("3300"), 503)
        self.assertIsNone(self.exchange.invite("3301"))
        late = self.exchange.call("3300")
        self.assertEqual(late.rejected, ["503"])

    def test_server_limit(self) -> None:
        """api.md 7: the same for limits.max_calls."""
        for _ in range(5):
            self.exchange.call("3301")
        self.assertEqual(self.exchange.invite("3301"), 503)
        self.assertEqual(self.exchange.invite("3300"), 503)

    def test_draining(self) -> None:
        """api.md 7: on SIGTERM no new calls."""
        self.exchange.call("3300")
        self.board.terminate()
        self.assertEqual(self.exchange.invite("3300"), 503)
        self.assertEqual(self.exchange.call("3300").rejected, ["503"])


class PrivateTests(SwitchboardCase):
    """A server that others can reach."""

    text = '[sip]\nlisten = ["udp:0.0.0.0:5060"]\n' + SERVICES.replace(
        'name = "blocking"', 'name = "blocking"\npublic = true'
    )

    def test_private_service(self) -> None:
        """api.md 7: only a public service takes calls from anywhere."""
        self.assertEqual(self.exchange.invite("3300"), 403)
        self.assertIsNone(self.exchange.invite("3301"))


class InstanceTests(SwitchboardCase):
    """What main gets, and what becomes of it."""

    def test_arguments(self) -> None:
        """api.md 2: main(channel, application_instance_id, file_man, my_log, application_parameters)."""
        call = self.exchange.call("3300")
        channel, instance_id, _file_man, _my_log, parameters, _gate = self.runs[0]
        self.assertIs(channel, call)
        self.assertEqual(parameters, "the parameters")
        self.assertEqual(list(self.board.instances), [instance_id])
        self.assertEqual(len(channel.ExtraChannel), 2)

    def test_record(self) -> None:
        """api.md 2: the fields of an application data record."""
        self.exchange.call("3300")
        self.exchange.host.clock.advance(12.5)
        self.runs[0][-1].callback(7)
        (record,) = self.records()
        self.assertEqual(
            record,
            {
                "direction": "inbound",
                "application": "app",
                "instance_id": self.runs[0][1],
                "start": "2001-09-09T01:46:40.250Z",
                "seconds": 12.5,
                "return_code": 7,
                "caller": "sip:alice@127.0.0.1",
                "application_parameters": "the parameters",
                "outbound_parameters": "",
                "service": "reception",
                "version": "1.5",
                "verb": None,
                "direct_seconds": 0.0,
            },
        )
        self.assertEqual(self.board.instances, {})

    def test_calls_are_released(self) -> None:
        """api.md 2: when main ends, by return or by exception, every call it still holds is released."""
        for outcome in (0, RuntimeError("on purpose")):
            call = self.exchange.call("3300")
            self.runs[-1][-1].callback(outcome) if outcome == 0 else self.runs[-1][-1].errback(outcome)
            self.assertEqual([one.hung_up for one in (call, *call.ExtraChannel)], [1, 1, 1])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.codes(), [0, -1])

    def test_return_codes(self) -> None:
        """api.md 2: no integer and exceptions -1, reserved values -5, the author's own as they are."""
        for value in (0, 3, True, -100, -1234, None, "0", 1.0, -1, -99):
            self.exchange.call("3300")
            self.runs[-1][-1].callback(value)
        self.exchange.call("3300")
        self.runs[-1][-1].errback(Hangup("gone"))
        self.assertEqual(self.codes(), [0, 3, 1, -100, -1234, -1, -1, -1, -5, -5, -1])

    def lines(self) -> list[str]:
        """Collect what is logged from now on about the applications."""
        lines: list[str] = []

        def hear(event: dict[str, Any]) -> None:
            if event["log_namespace"].startswith("telephony.application."):
                lines.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        return lines

    def test_what_was_returned_is_told(self) -> None:
        """api.md 2: who forgot to return an integer reads so in the log, with the instance's id and the Call-ID."""
        lines = self.lines()
        for value in (0, 7, -100, True, None, "fine", -5, 1.0):
            self.exchange.call("3300")
            self.runs[-1][-1].callback(value)
        said = [(line.split("]")[0], line.split("; it is to")[0].split("] ")[1]) for line in lines]
        what = ["None, recorded as -1", "'fine', recorded as -1", "-5, recorded as -5", "1.0, recorded as -1"]
        self.assertEqual([one for _, one in said], [f"main returned {one}" for one in what])
        self.assertEqual([one for one, _ in said], [f"[{run[1]} abc@127.0.0.1" for run in self.runs[4:]])

    def test_what_was_raised_is_told(self) -> None:
        """api.md 2: the line about what main raised has the instance's id and the Call-ID too."""
        lines = self.lines()
        for error in (Hangup("play(): gone"), ZeroDivisionError("on purpose")):
            self.exchange.call("3300")
            self.runs[-1][-1].errback(error)
        prefixes = [f"[{run[1]} abc@127.0.0.1] main " for run in self.runs]
        self.assertEqual(lines, [f"{prefixes[0]}ended by Hangup: play(): gone", f"{prefixes[1]}raised"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_blocking_main(self) -> None:
        """api.md 1: a plain main runs in a thread and gets a UASCallChannel."""
        call = self.exchange.call("3301")
        ((name, thread),) = self.runner.threads
        self.assertIn("threads ", name)
        self.assertEqual(self.module("blocking")["runs"], [])
        thread()
        channel = self.module("blocking")["runs"][0][0]
        self.assertIsInstance(channel, UASCallChannel)
        self.assertEqual(len(channel.ExtraChannel), 1)
        self.assertIs(channel.state(), State.IDLE)
        self.assertEqual((call.hung_up, self.codes()), (1, [0]))

    def test_no_thread_left(self) -> None:
        """api.md 2: a fault inside the server is -9; the call is released and the instance takes no capacity."""

        def start(_name: str, _function: Any) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(self.runner, "start", start)
        call = self.exchange.call("3301")
        self.assertEqual((call.hung_up, self.codes(), self.board.instances), (1, [-9], {}))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def behave(self, behave: Any) -> None:
        self.module("blocking")["behave"] = behave
        self.exchange.call("3301")
        self.runner.threads.pop()[1]()

    def test_blocking_main_raises(self) -> None:
        """api.md 2: an uncaught exception is -1, sys.exit() included; it is logged with the instance's id."""
        self.behave(lambda *_: 1 / 0)
        self.behave(lambda *_: exit())
        self.behave(lambda channel, *_: channel.hang_up() and channel.nothing)
        self.assertEqual(self.codes(), [-1, -1, -1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, SystemExit, AttributeError)), 3)

    def test_blocking_main_returns_a_deferred(self) -> None:
        """api.md 1: a main may also return a Deferred; one that ran in a thread is waited for there."""

        def late(*_arguments: Any) -> Deferred[int]:
            done: Deferred[int] = Deferred()
            done.callback(5)
            return done

        async def later(*_arguments: Any) -> int:
            return 6

        self.behave(late)
        self.behave(later)
        self.assertEqual(self.codes(), [5, 6])

    def test_caller_gone_before_launch(self) -> None:
        """api.md 2: -2; main is not run."""
        call = self.exchange.call("3301")
        call.go(State.IDLE)
        self.runner.threads[0][1]()
        self.exchange.on_call(FakeChannel(State.IDLE, "sip:3300@127.0.0.1"))
        self.assertEqual((self.codes(), self.runs, self.module("blocking")["runs"]), ([-2, -2], [], []))

    def test_my_log(self) -> None:
        """api.md 2: debug, trace, info, report, warning, error; each line has the instance's id and the Call-ID."""
        heard: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(heard.append)
        self.addCleanup(globalLogPublisher.removeObserver, heard.append)
        self.exchange.call("3300")
        _channel, instance_id, _file_man, my_log, *_ = self.runs[0]
        for level in ("debug", "trace", "info", "report", "warning"):
            getattr(my_log, level)("{braces} and %s")
        lines = [one["log_format"].format(**one) for one in heard if one["log_namespace"].endswith("application.app")]
        self.assertEqual(lines, [f"[{instance_id} abc@127.0.0.1] {{braces}} and %s"] * 5)

    def test_file_man(self) -> None:
        """api.md 6: exists, delete_file, rename, validate, within the media directory."""
        media = self.configuration.media.directory
        media.mkdir()
        (media / "a.wav").write_bytes(b"RIFF")
        self.exchange.call("3300")
        file_man = self.runs[0][2]
        self.assertTrue(file_man.exists("a.wav"))
        self.assertFalse(file_man.exists("b.wav"))
        self.assertTrue(file_man.rename("a.wav", "sub/b.wav"))
        self.assertFalse(file_man.rename("a.wav", "c.wav"))
        self.assertTrue((media / "sub" / "b.wav").is_file())
        self.assertTrue(file_man.delete_file("sub/b.wav"))
        self.assertFalse(file_man.delete_file("sub/b.wav"))
        self.assertRaises(Error, file_man.validate, "a.wav", "aes")
        for bad in ("../t.toml", "/etc/passwd"):
            self.assertRaises(Error, file_man.exists, bad)
            self.assertRaises(Error, file_man.delete_file, bad)
            self.assertRaises(Error, file_man.rename, "a.wav", bad)
            self.assertRaises(Error, file_man.validate, bad)

    def test_rename_onto_a_file(self) -> None:
        """A rename destroys nothing."""
        media = self.configuration.media.directory
        media.mkdir()
        (media / "a.wav").write_bytes(b"a")
        (media / "b.wav").write_bytes(b"b")
        self.exchange.call("3300")
        self.assertIn("'b.wav' already", str(self.assertRaises(Error, self.runs[0][2].rename, "a.wav", "b.wav")))


class OutboundTests(SwitchboardCase):
    """Outbound applications."""

    def test_start(self) -> None:
        """api.md 2: main gets outbound_parameters behind application_parameters, and an IDLE channel."""
        instance_id = self.board.start_outbound("reminder", "call bob")
        (run,) = self.module("reminder")["runs"]
        self.assertEqual(run[1], instance_id)
        self.assertIs(run[0].state(), State.IDLE)
        run[-1].callback(0)
        self.assertEqual(self.records()[0]["outbound_parameters"], "call bob")
        self.assertEqual(self.records()[0]["direction"], "outbound")

    def test_refused(self) -> None:
        """api.md 2: -3 no such application, -6 wrong direction."""
        self.assertIn("reminder", str(self.assertRaises(Error, self.board.start_outbound, "remainder", "")))
        self.assertRaises(Error, self.board.start_outbound, "reception", "")
        self.assertEqual(self.codes(), [ReturnCode.NO_SUCH_APPLICATION, ReturnCode.WRONG_DIRECTION])


class EndTests(SwitchboardCase):
    """The end of a server."""

    def test_drain(self) -> None:
        """api.md 7: what runs may end; then the sockets are closed."""
        self.exchange.call("3300")
        over = self.board.terminate()
        self.assertIsNone(self.exchange.closing)
        self.runs[0][-1].callback(0)
        self.successResultOf(over)
        self.assertEqual(self.codes(), [0])

    def test_left_behind(self) -> None:
        """api.md 2: one that doesn't end gets its record, with the verb named, and is left behind."""
        self.exchange.call("3300")
        self.runs[0][0].running_verb = "retrievable_transfer"
        over = self.board.hang_up()
        self.assertNoResult(over)
        self.exchange.host.clock.advance(10)
        self.successResultOf(over)
        self.assertEqual([(one["return_code"], one["verb"]) for one in self.records()], [(-1, "retrievable_transfer")])
        self.runs[0][-1].callback(0)
        self.assertEqual(len(self.records()), 1)
        self.assertIs(self.board.drain.state, Phase.CLOSED)

    def test_end_again(self) -> None:
        """Ending what has ended is done at once."""
        self.successResultOf(self.board.terminate())
        self.successResultOf(self.board.hang_up())
