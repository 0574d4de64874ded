"""The visit as a whole: which checks, in which order, how long each may take, and leaving the peer as it was found.

Owns: the list of checks, their limits, what is not done and why, hanging up and signing off whatever happens. Must not
know what a check does.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred

from telephony.doctor import calling, reaching, registering, talking
from telephony.doctor.asked import Asked
from telephony.doctor.findings import Finding, NotDone, Outcome, Report
from telephony.doctor.visit import Visit
from telephony.interfaces import Host

#: How long hanging up and signing off may take when the visit was interrupted, in seconds.
PARTING = 3.0
#: How many broken rules are told.
MOST_RULES = 12


@attrs.frozen
class Check:
    """One check: its name, what does it, and its limit in seconds for one answer's time (0 s and 1 s)."""

    name: str
    run: Callable[[Visit], Coroutine[Any, Any, Finding]]
    fixed: float = 1.0
    answers: float = 2.0

    def limit(self, timeout: float) -> float:
        """Return how long it may take."""
        return self.fixed + self.answers * timeout


@attrs.frozen
class Group:
    """Checks that belong together. ``gate`` says why none of what is left can be done, "" while they can."""

    title: str
    gate: Callable[[Visit], str]
    checks: tuple[Check, ...]


def _always(_visit: Visit) -> str:
    return ""


def _found(visit: Visit) -> str:
    return "" if visit.targets else "there is nobody to ask"


def _answers(visit: Visit) -> str:
    if not visit.targets:
        return "there is nobody to ask"
    return "" if visit.transport else reaching.choose(visit)


def _login(visit: Visit) -> str:
    if not visit.asked.user:
        return _answers(visit) or "no --user was given, so nobody signs in"
    return _answers(visit)


def _calls(visit: Visit) -> str:
    if not visit.asked.target.user:
        return (
            _answers(visit)
            or f"the target names no number; give one like sip:3300@{visit.asked.host} to have it called"
        )
    if not visit.asked.calls:
        return _answers(visit) or "--no-calls was given"
    return _answers(visit)


def _in_call(visit: Visit) -> str:
    return _calls(visit) or visit.why_no_call()


def _hanging_up(visit: Visit) -> str:
    return _in_call(visit)


async def _rules(visit: Visit) -> Finding:
    """Tell what the phone complains of, beyond what the checks have told: it judges every message and packet."""
    broken = visit.complaints()
    refused = dict(visit.host.refused)
    messages = sum(1 for one in visit.phone.log if not one.sent)
    facts = {"broken": broken, "messages": messages, "held_back": refused}
    if broken:
        told = "; ".join(broken[:MOST_RULES])
        more = f"; and {len(broken) - MOST_RULES} more" if len(broken) > MOST_RULES else ""
        return Finding(
            check="rules",
            outcome=Outcome.ODD,
            text=f"{len(broken)} rule{'s' if len(broken) > 1 else ''} broken in what it sends: {told}{more}",
            advice="Its maker wants to know; a server of ours reads such messages as far as they can be read.",
            facts=facts,
        )
    if refused:
        return Finding(
            check="rules",
            outcome=Outcome.ODD,
            text=f"its messages name {', '.join(refused)}, which isn't the peer; nothing was sent there",
            advice="If that is the peer's own, too, give it with --also.",
            facts=facts,
        )
    return Finding(
        check="rules", outcome=Outcome.GOOD, text=f"no rule was broken in {messages} messages of its", facts=facts
    )


def groups() -> tuple[Group, ...]:
    """Return all checks, in order."""
    timed = 2 * (0.4 + 0.8) + 10
    return (
        Group("The way there", _always, (Check("resolution", reaching.resolution),)),
        Group(
            "Transports",
            _found,
            (
                Check("udp", reaching.udp),
                Check("tcp", reaching.tcp),
                Check("tls", reaching.tls),
                Check("rport", reaching.rport),
            ),
        ),
        Group("What it says", _answers, (Check("options", reaching.options), Check("large messages", reaching.large))),
        Group(
            "Signing in",
            _login,
            (
                Check("register", registering.register, answers=4.0),
                *(Check(one.lower(), registering.digest(one)) for one in ("MD5", "SHA-256", "SHA-512-256")),
                Check("expires", registering.expires, answers=3.0),
                Check("old nonce", registering.stale),
                Check("wrong password", registering.wrong_password),
            ),
        ),
        Group("Calling", _calls, (Check("call", calling.call, answers=7.0),)),
        Group(
            "The answer",
            _in_call,
            (
                Check("ringing", calling.ringing),
                Check("100rel", calling.reliable),
                Check("codecs", calling.codecs),
                Check("session timer", calling.timer),
            ),
        ),
        Group(
            "In the call",
            _in_call,
            (
                Check("audio", talking.audio, fixed=talking.LISTEN + 1),
                Check("hold", talking.hold("sendonly"), fixed=timed),
                Check("hold, both ways", talking.hold("inactive"), fixed=timed),
                Check("re-INVITE", talking.reinvite, fixed=6),
                Check("re-INVITE without offer", talking.offerless, fixed=6),
                Check("UPDATE", talking.update),
                Check("RTCP", talking.rtcp, fixed=talking.REPORT_WITHIN + 1),
                Check("keys", talking.keys),
            ),
        ),
        Group("The end", _hanging_up, (Check("BYE", talking.bye),)),
        Group("Afterwards", _answers, (Check("sign off", registering.sign_off), Check("rules", _rules))),
    )


class Examination:
    """One visit. ``begun`` is told of each check that begins, ``found`` of each finding, ``titled`` of each group."""

    def __init__(self, host: Host, asked: Asked) -> None:
        self.visit = Visit(host, asked)
        self.report = Report(str(asked.target))
        self.titled: Callable[[str], None] = lambda title: None
        self.begun: Callable[[str], None] = lambda name: None
        self.found: Callable[[Finding], None] = lambda finding: None
        self._clock = host.clock
        self._running: Deferred[Any] | None = None
        self._began = host.clock.seconds()

    def run(self) -> Deferred[Report]:
        """Do all of it; fires with the report, also when it was interrupted. Afterwards the peer is left alone."""
        return Deferred.fromCoroutine(self._run())

    def interrupt(self) -> None:
        """End it: the call is hung up and the registration taken back, in a few seconds at most."""
        self.report.interrupted = True
        running = self._running
        if running is not None:
            running.cancel()

    async def _run(self) -> Report:
        whole = self._began + self.visit.asked.whole
        try:
            for group in groups():
                if self.report.interrupted:
                    break
                await self._go_through(group, whole)
        finally:
            await self._part()
            self.report.seconds = self._clock.seconds() - self._began
        return self.report

    async def _go_through(self, group: Group, whole: float) -> None:
        shown = False
        for number, check in enumerate(group.checks):
            if check.name == "sign off" and not self.visit.registered:
                continue
            why = group.gate(self.visit)
            if not why and self._clock.seconds() > whole and group.title not in ("The end", "Afterwards"):
                why = f"the {self.visit.asked.whole:g} s of a visit are over"
            if why and self._told_already(why):
                return
            if not shown:
                self.titled(group.title)
                shown = True
            if why:
                left = [one.name for one in group.checks[number:]]
                self._note(Finding(check=_names(left), outcome=Outcome.NOT_DONE, text=why))
                return
            self.begun(check.name)
            finding = await self._done(check)
            if self.report.interrupted:
                return
            self._note(finding)

    def _told_already(self, why: str) -> bool:
        """Tell whether the same reason was given for an earlier group: once is enough."""
        return any(one.outcome is Outcome.NOT_DONE and one.text == why for one in self.report.findings)

    async def _done(self, check: Check) -> Finding:
        limit = check.limit(self.visit.asked.timeout)
        self._running = running = Deferred.fromCoroutine(check.run(self.visit))
        try:
            found = await self.visit.within(running, limit)
        except NotDone as why:
            return Finding(check=check.name, outcome=Outcome.NOT_DONE, text=str(why))
        except CancelledError:
            return Finding(check=check.name, outcome=Outcome.NOT_DONE, text="interrupted")
        except OSError as error:
            text = f"this machine refuses: {error.strerror or error}"
            return Finding(check=check.name, outcome=Outcome.BAD, text=text, advice="Look at --listen.")
        except AssertionError as error:
            # The phone says so when what is asked of it can't be done in the state that the call is in.
            text = str(error).splitlines()[0] if str(error) else "the phone can't do it now"
            return Finding(check=check.name, outcome=Outcome.NOT_DONE, text=text)
        finally:
            self._running = None
        if found is None:
            text = f"it wasn't over after {limit:g} s"
            return Finding(check=check.name, outcome=Outcome.BAD, text=text)
        return found

    def _note(self, finding: Finding) -> None:
        self.report.findings.append(finding)
        self.found(finding)

    async def _part(self) -> None:
        """Hang up, sign off, and close, whatever has happened."""
        visit = self.visit
        if not visit.began:
            return
        call = visit.last_call
        if call is not None and call.alive:
            await visit.within(call.hang_up(), PARTING)
            if not call.outgoing or not call.answered:
                await visit.pause(0.2)  # a CANCEL needs a moment to be on its way, and its 487 to be acknowledged
        if visit.registered:
            asked = visit.asked
            await visit.within(Deferred.fromCoroutine(registering.sign_off(visit)), min(PARTING, asked.timeout))
        await visit.phone.close()


def _names(checks: list[str]) -> str:
    return ", ".join(checks) if len(checks) < 3 else f"{checks[0]} and {len(checks) - 1} more"
