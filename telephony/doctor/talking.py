"""Checks within the call: audio, keys, hold, re-INVITE, UPDATE, RTCP, and its end (RFC 3264 8, 3311, 3550, 4733).

Owns: these checks and their sentences. Must not know how the call came about. They are done in an order in which one
that goes wrong spoils little: the audio first, a key, at which many a menu hangs up, behind all others.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from telephony.doctor.findings import Finding, NotDone, Outcome
from telephony.doctor.hearing import Stream, audible, find_echo, loudness, stream_of, sweep
from telephony.doctor.visit import Visit, listed, milliseconds
from telephony.interfaces import Address
from telephony.testing.offer import ALLOWED, EVENTS

#: How long the peer is listened to, the sweep included (seconds).
LISTEN = 4.0
#: How long after the answer a report should have come, with room for chance (RFC 3550 6.2).
REPORT_WITHIN = 8.0
#: How late an echo may be before people talk over each other (ITU-T G.114's 150 ms each way), in milliseconds.
LATE = 300.0
KEY = "5"


async def audio(visit: Visit) -> Finding:
    """Say a sweep, listen, and judge what came."""
    made = visit.call
    rtp = made.media.theirs.rtp if made.media.theirs is not None else None
    ear = made.media.audio.ear
    sound = sweep()
    began = visit.clock.seconds()
    made.media.audio.mouth.says(sound, False)
    await visit.pause(LISTEN)
    heard = ear.sound(began, visit.clock.seconds())
    packets = ear.heard_packets(began)
    told = stream_of(packets)
    facts: dict[str, object] = {"packets": told.packets, "lost": told.lost, "senders": list(told.senders)}
    if not told.packets:
        advice = "A firewall or NAT in between: forward rtp.ports, and set sip.advertise to the public address."
        if rtp is None:
            advice = "Its description names no port or address for audio."
        text = f"no audio came in {LISTEN:g} s, not one RTP packet"
        return Finding(check="audio", outcome=Outcome.BAD, text=text, advice=advice, facts=facts)
    level = loudness(heard)
    echo = find_echo(sound, heard)
    facts |= {"level_dbm0": round(level, 1), "jitter_ms": round(told.jitter * 1000, 1), "gaps": told.gaps}
    faults, advice = _stream_faults(told, rtp, facts)
    if echo is not None:
        facts |= {"echo_ms": round(echo.latency * 1000), "echo_db": round(echo.gain, 1)}
        text = f"our own sound comes back after {milliseconds(echo.latency * 1000)}, {_gain(echo.gain)}"
        if echo.latency * 1000 > LATE:
            faults.append("that is late: people would talk over each other")
        if abs(echo.gain) > 10:
            faults.append("its level is far from ours")
    elif audible(heard):
        text = f"it says something of its own, at {level:.0f} dBm0; our own sound doesn't come back"
    else:
        text = f"silence: {told.packets} packets came, and nothing in them can be heard"
        return Finding(check="audio", outcome=Outcome.ODD, text=_with(text, faults), advice=advice, facts=facts)
    if not faults:
        text += f"; nothing lost of {told.expected} packets, jitter {milliseconds(told.jitter * 1000)}"
    return Finding(
        check="audio",
        outcome=Outcome.ODD if faults else Outcome.GOOD,
        text=_with(text, faults),
        advice=advice,
        facts=facts,
    )


def _stream_faults(told: Stream, rtp: Address | None, facts: dict[str, object]) -> tuple[list[str], str]:
    faults: list[str] = []
    advice = ""
    if told.lost > told.expected * 0.01:
        faults.append(f"{told.lost} of {told.expected} packets were lost")
    if told.jitter > 0.03:
        faults.append(f"the packets jitter by {told.jitter * 1000:.0f} ms")
    if told.gaps:
        faults.append(f"{told.gaps} pause{'s' if told.gaps > 1 else ''} of up to {milliseconds(told.longest * 1000)}")
    if told.sources > 1:
        faults.append(f"its SSRC changed {told.sources - 1} time{'s' if told.sources > 2 else ''}")
    if rtp is not None and told.senders and told.senders != (f"{rtp[0]}:{rtp[1]}",):
        facts["described"] = f"{rtp[0]}:{rtp[1]}"
        faults.append(f"it comes from {listed(told.senders)}, though {rtp[0]}:{rtp[1]} was described")
        advice = "A server of ours sends to where the audio comes from, which is right behind a NAT."
    return faults, advice


def _with(text: str, faults: list[str]) -> str:
    return f"{text}; but {listed(faults)}" if faults else text


def _gain(gain: float) -> str:
    if abs(gain) < 1.5:
        return "as loud as it went"
    return f"{abs(gain):.0f} dB {'louder' if gain > 0 else 'softer'}"


async def keys(visit: Visit) -> Finding:
    """Press a key in the way that the peer takes."""
    made = visit.call
    said = made.media.theirs
    number = said.number(EVENTS) if said is not None else None
    if number is not None:
        await visit.within(visit.phone.press(KEY))
        return Finding(
            check="keys",
            outcome=Outcome.GOOD,
            text=f"it takes keys as telephone events (RFC 4733), payload type {number}; a {KEY} was pressed",
            facts={"payload_type": number},
        )
    status = await visit.within(made.send_info(f"Signal={KEY}\r\nDuration=100\r\n".encode()))
    if status and status < 300:
        return Finding(
            check="keys",
            outcome=Outcome.ODD,
            text=f"it answered no telephone-event (RFC 4733), but takes a {KEY} by INFO",
            advice="A server of ours sends keys so where Allow names INFO; nothing is to be set.",
            facts={"info": status},
        )
    said_ = f"refuses INFO with {status}" if status else "doesn't answer INFO"
    return Finding(
        check="keys",
        outcome=Outcome.BAD,
        text=f"it answered no telephone-event (RFC 4733), and {said_}: keys go as tones only",
        advice='Tones need G.711 all the way: trunk.codecs = ["g711a", "g711u"].',
        facts={"info": status},
    )


async def _change(visit: Visit, direction: str | None, *, offer: bool = True) -> str:
    """Send a re-INVITE; return what went wrong, "" for a 2xx."""
    made = visit.call
    if not made.can_offer:
        raise NotDone("an earlier re-INVITE has no answer yet")
    status = await visit.within(made.reinvite(direction, offer=offer, tries=2), visit.asked.timeout + 5)
    if status is None or status == 0:
        visit.call_ended = "the peer had stopped answering"
        return "doesn't answer it"
    return "" if status < 300 else f"refuses it with {status}"


def _direction(visit: Visit) -> str:
    said = visit.call.media.theirs
    return said.direction if said is not None else "nothing"


def hold(direction: str) -> Callable[[Visit], Coroutine[Any, Any, Finding]]:
    """Return the check of one kind of hold."""
    name = "hold" if direction == "sendonly" else "hold, both ways"
    wanted = listed(sorted(ALLOWED[direction], reverse=True), "or")

    async def check(visit: Visit) -> Finding:
        """Hold the peer, see that it is quiet, resume, and see that it speaks again (RFC 3264 8.4)."""
        wrong = await _change(visit, direction)
        if wrong:
            return Finding(
                check=name,
                outcome=Outcome.BAD,
                text=f"it can't be held: we offer {direction}, and it {wrong}",
                advice="channel.hold() leaves such a call as it is.",
            )
        answered = _direction(visit)
        ear = visit.call.media.audio.ear
        await visit.pause(0.4)
        before = ear.unwanted
        await visit.pause(0.8)
        noisy = ear.unwanted - before
        allowed = answered in ALLOWED[direction]
        visit.note(f"{answered} answers {direction}")
        facts = {"answer": answered, "packets_on_hold": noisy}
        wrong = await _change(visit, "sendrecv")
        text = f"our {direction} is answered with {answered}"
        if not allowed:
            text += f", where only {wanted} is allowed (RFC 3264 6.1)"
        if noisy:
            visit.note("RTP packets on hold")
            text += f"{', and' if not allowed else ', but'} it goes on sending audio"
        if wrong:
            return Finding(
                check=name, outcome=Outcome.BAD, text=f"{text}; we want to resume, and it {wrong}", facts=facts
            )
        back = _direction(visit)
        facts["resumed"] = back
        if back != "sendrecv":
            text += f"; resumed, it answers {back}: the call stays quiet"
            return Finding(check=name, outcome=Outcome.BAD, text=text, facts=facts)
        if not allowed:
            advice = "It may not know that it is held: its user talks on, to nobody. Nothing of ours changes that."
            return Finding(check=name, outcome=Outcome.BAD, text=text, advice=advice, facts=facts)
        if noisy:
            return Finding(check=name, outcome=Outcome.ODD, text=text, facts=facts)
        return Finding(check=name, outcome=Outcome.GOOD, text=f"{text}, it is quiet, and comes back", facts=facts)

    return check


async def reinvite(visit: Visit) -> Finding:
    """Send a re-INVITE that changes nothing, as a refresh does."""
    wrong = await _change(visit, None)
    if wrong:
        return Finding(
            check="re-INVITE",
            outcome=Outcome.BAD,
            text=f"a re-INVITE with the same offer: it {wrong}",
            advice="Such a call can't be refreshed so: sip.session_expires = 0 asks for no refreshes.",
        )
    return Finding(check="re-INVITE", outcome=Outcome.GOOD, text="one that changes nothing is answered with 200")


async def offerless(visit: Visit) -> Finding:
    """Send a re-INVITE without an offer: the peer makes one (RFC 3261 14.1), with all that it can do (RFC 3264 8)."""
    check = "re-INVITE without offer"
    wrong = await _change(visit, None, offer=False)
    if wrong:
        return Finding(
            check=check,
            outcome=Outcome.ODD,
            text=f"it {wrong}, and should make an offer of its own (RFC 3261 14.2)",
        )
    said = visit.call.media.theirs
    last = [one for one in visit.phone.log if not one.sent and one.message.cseq.method == "INVITE"][-1].message
    if not last.body:
        visit.note("the answer to our INVITE")
        return Finding(check=check, outcome=Outcome.BAD, text="its 200 has no offer, where one must be (RFC 3261 14.2)")
    names = [said.names.get(one, str(one)) for one in said.formats] if said is not None else []
    text = f"it offers {listed(one for one in names if one != EVENTS)}"
    if said is not None and said.direction != "sendrecv":
        return Finding(
            check=check,
            outcome=Outcome.ODD,
            text=f"{text}, and {said.direction}, though nobody is held: it may come out of this without audio",
        )
    return Finding(check=check, outcome=Outcome.GOOD, text=text, facts={"codecs": names})


async def update(visit: Visit) -> Finding:
    """Send an UPDATE that only refreshes (RFC 3311, RFC 4028 7.4), to who allows it."""
    made = visit.call
    answers = [one for one in visit.phone.got(made.status) if one.cseq.method == "INVITE"]
    allow = {part.strip().upper() for one in answers for value in one.get_list("Allow") for part in value.split(",")}
    if "UPDATE" not in allow | visit.allow:
        raise NotDone("its Allow doesn't name UPDATE, so re-INVITE is used")
    status = await visit.within(made.update(offer=False))
    if status and status < 300:
        return Finding(check="UPDATE", outcome=Outcome.GOOD, text=f"it allows it, and answers {status}")
    said = f"refuses it with {status}" if status else "doesn't answer it"
    return Finding(
        check="UPDATE",
        outcome=Outcome.BAD,
        text=f"its Allow names UPDATE, and it {said}",
        advice="Refreshes go by it: sip.session_expires = 0 asks for none.",
    )


async def rtcp(visit: Visit) -> Finding:
    """See whether reports come (RFC 3550 6)."""
    made = visit.call
    ear = made.media.audio.ear
    waited = 0.0
    while not ear.reports and waited < REPORT_WITHIN and made.talking:
        await visit.pause(0.2)
        waited += 0.2
    if ear.reports:
        return Finding(
            check="RTCP", outcome=Outcome.GOOD, text="reports come, so a quiet call isn't taken for a dead one"
        )
    return Finding(
        check="RTCP",
        outcome=Outcome.ODD,
        text="no report came in the whole call, which RFC 3550 6 wants of every participant",
        advice="If it also sends nothing while it is quiet, limits.media_seconds = 0 keeps such calls alive.",
    )


async def bye(visit: Visit) -> Finding:
    """Hang up, and see that it is answered and that the audio ends (RFC 3261 15)."""
    made = visit.call
    ear = made.media.audio.ear
    status = await visit.within(made.hang_up())
    visit.call_ended = "we have hung up"
    if not status:
        return Finding(
            check="BYE",
            outcome=Outcome.BAD,
            text="it doesn't answer our BYE, so we can't know whether it has hung up",
        )
    if status >= 300:
        return Finding(check="BYE", outcome=Outcome.ODD, text=f"it answers our BYE with {status} in place of 200")
    await visit.pause(0.3)
    before = ear.unwanted
    await visit.pause(0.15)
    if ear.unwanted > before:
        visit.note("RTP packets on hold or after")
        text = "it answers our BYE with 200, and goes on sending audio"
        return Finding(check="BYE", outcome=Outcome.ODD, text=text)
    visit.note("RTP packets on hold or after")
    return Finding(check="BYE", outcome=Outcome.GOOD, text="it is answered with 200, and the audio ends")
