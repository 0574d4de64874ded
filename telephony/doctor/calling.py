"""Checks of a call's beginning: ringing, answer, codecs, keys, timers (RFC 3261 13, 3262, 3264, 4028, 4733).

Owns: the one call that the doctor makes until it is answered, and what its messages say. Must not know what is asked
within the call.
"""

from __future__ import annotations

from telephony.doctor.findings import Finding, NotDone, Outcome
from telephony.doctor.visit import SESSION_SECONDS, SUITE, Visit, listed, milliseconds, number_in
from telephony.sip.message import Response
from telephony.testing.clock import NeverHappened
from telephony.testing.offer import EVENTS
from telephony.testing.phone_call import PhoneCall
from telephony.testing.phone_timer import session_expires

#: What refusals of a call mean to whoever set it up, and what helps.
REFUSALS = {
    401: "Give --user and the password; in the server: trunk.user and trunk.password.",
    403: "It doesn't want calls from us: our address, our From (trunk.caller, trunk.caller_id) or our number.",
    404: "There is no such number there.",
    407: "Give --user and the password; in the server: trunk.user and trunk.password.",
    408: "Nobody is reachable under that number now.",
    415: "It takes no session descriptions as we send them.",
    420: "It wants an extension away that the phone offers.",
    480: "There is nobody signed in under that number now.",
    486: "The number is busy: try another one.",
    488: "It takes no codec of ours, or insists on SRTP: see trunk.codecs and rtp.srtp.",
    503: "It is overloaded or shut for calls from us.",
}
#: The latest moment for an answer of any kind before an INVITE is sent again (milliseconds).
FIRST_RESEND = 500.0


async def call(visit: Visit) -> Finding:
    """Call the number and wait for the answer."""
    asked, phone = visit.asked, visit.phone
    if visit.transport == "TLS":
        phone.srtp = SUITE
    phone.sending.credentials = visit.credentials()
    began = visit.clock.seconds()
    when: dict[int, float] = {}

    def came(response: Response | None) -> None:
        if response is not None:
            when.setdefault(response.status, visit.since(began))

    made = phone.dial(str(asked.target), from_uri=visit.own_address())
    made.watchers.append(came)
    visit.call = made
    try:
        await phone.until(lambda: made.answered or not made.alive, asked.ring)
    except NeverHappened:
        return _unanswered(visit, made, when)
    facts = {"milliseconds": {str(status): round(value, 1) for status, value in when.items()}, "status": made.status}
    if not made.answered:
        return _refused(visit, made, facts)
    order = [f"{status} after {milliseconds(value)}" for status, value in when.items()]
    text = f"it answered: {listed(order)}"
    first = min(when.values())
    if first > FIRST_RESEND and visit.transport == "UDP":
        return Finding(
            check="call",
            outcome=Outcome.ODD,
            text=f"{text}; nothing came before our INVITE went out again",
            advice="A 100 within 200 ms spares that (RFC 3261 17.2.1).",
            facts=facts,
        )
    return Finding(check="call", outcome=Outcome.GOOD, text=text, facts=facts)


def _unanswered(visit: Visit, made: PhoneCall, when: dict[int, float]) -> Finding:
    seconds = f"{visit.asked.ring:g} s"
    if not when:
        visit.call_ended = "the call was not answered"
        text = f"no answer of any kind to our INVITE within {seconds}"
        return Finding(check="call", outcome=Outcome.BAD, text=text)
    visit.call_ended = "nobody answered the call"
    text = f"nobody answered within {seconds} ({listed(sorted(when))} came); the call was given up"
    return Finding(check="call", outcome=Outcome.BAD, text=text, advice="Name a number that answers by itself.")


def _refused(visit: Visit, made: PhoneCall, facts: dict[str, object]) -> Finding:
    visit.call_ended = "the call was not answered"
    if not made.status:
        return Finding(check="call", outcome=Outcome.BAD, text="the call could not be set up: no usable answer came")
    said = f"{made.status} {made.reason!r}"
    if 300 <= made.status < 400:
        answers = [one for one in visit.phone.got(made.status) if isinstance(one, Response)]
        where = listed(one.uri for response in answers for one in response.contacts) or "nowhere"
        return Finding(
            check="call",
            outcome=Outcome.ODD,
            text=f"it sends the call elsewhere, with {said}: to {where}",
            advice="The doctor calls nobody else; a server of ours follows where its application may call.",
            facts=facts,
        )
    if made.status < 300:
        visit.call_ended = "the call had no audio that both sides know"
        visit.note("can't be used")
        said_so = [one for one in visit.phone.got(made.status) if one.cseq.method == "INVITE"]
        if said_so and not said_so[-1].body:
            visit.note("description:", "the offer has the streams", "t= answers")
            text = "it answered without a description, though our INVITE had an offer (RFC 3261 13.2.1)"
            return Finding(check="call", outcome=Outcome.BAD, text=text, facts=facts)
        text = "it answered, with a description that can't be used: no codec of ours in it, or no port"
        return Finding(check="call", outcome=Outcome.BAD, text=text, advice=REFUSALS[488], facts=facts)
    advice = REFUSALS.get(made.status, "")
    if made.status in (401, 407) and visit.asked.user is not None:
        advice = "The user or the password is wrong: trunk.user, trunk.password."
    return Finding(
        check="call", outcome=Outcome.BAD, text=f"it refused the call with {said}", advice=advice, facts=facts
    )


async def ringing(visit: Visit) -> Finding:
    """Say how it rang: at all, with audio, reliably."""
    made = visit.call
    rung = [one for one in made.provisionals if one.status > 100]
    described = [one for one in rung if one.body]
    names = ", ".join(dict.fromkeys(str(one.status) for one in rung))
    if not rung:
        return Finding(check="ringing", outcome=Outcome.GOOD, text="it answered without ringing first")
    if not described:
        return Finding(
            check="ringing",
            outcome=Outcome.GOOD,
            text=f"it rang with {names} and described no early audio: callers hear our own ringback tone",
        )
    if all(one.status == 180 for one in described):
        return Finding(
            check="ringing", outcome=Outcome.GOOD, text=f"it rang with {names}, and described early audio in the 180"
        )
    return Finding(check="ringing", outcome=Outcome.GOOD, text=f"it rang with {names}, and described early audio")


async def reliable(visit: Visit) -> Finding:
    """Say what it makes of 100rel (RFC 3262), which the phone supports."""
    made = visit.call
    sent = [one for one in made.provisionals if "100rel" in one.require]
    if sent:
        answers = [
            one.message.status
            for one in visit.phone.log
            if not one.sent and isinstance(one.message, Response) and one.message.cseq.method == "PRACK"
        ]
        facts = {"reliable": len(sent), "prack": answers}
        if answers and answers[-1] < 300:
            return Finding(
                check="100rel", outcome=Outcome.GOOD, text="it rings reliably, and takes our PRACK", facts=facts
            )
        said = f"refuses our PRACK with {answers[-1]}" if answers else "doesn't answer our PRACK"
        return Finding(
            check="100rel",
            outcome=Outcome.BAD,
            text=f"it rings reliably, and {said} (RFC 3262 3)",
            facts=facts,
        )
    says = any("100rel" in one.supported for one in visit.phone.got(made.status) + made.provisionals)
    text = "it knows 100rel, and rang without it" if says else "it doesn't ring reliably, as most phones don't"
    return Finding(check="100rel", outcome=Outcome.GOOD, text=text)


async def codecs(visit: Visit) -> Finding:
    """Say what it answered to our offer."""
    made = visit.call
    said = made.media.theirs
    if said is None:
        return Finding(check="codecs", outcome=Outcome.BAD, text="it described nothing in its answer")
    names = [said.names.get(number, str(number)) for number in said.formats]
    spoken = [one for one in names if one != EVENTS]
    facts = {"codecs": names, "ptime": said.ptime, "direction": said.direction}
    text = f"to PCMA and PCMU it answered {listed(spoken)}"
    if said.ptime not in (None, 20):
        text += f", in packets of {said.ptime} ms"
    if said.secured:
        text += ", secured by SRTP"
    if said.direction != "sendrecv":
        return Finding(
            check="codecs",
            outcome=Outcome.ODD,
            text=f"{text}, and {said.direction} where sendrecv was offered: one side will hear nothing",
            facts=facts,
        )
    rtp = said.rtp
    if rtp is not None and rtp[0] not in visit.host.allowed:
        return Finding(
            check="codecs",
            outcome=Outcome.ODD,
            text=f"{text}; its audio is at {rtp[0]}, which isn't the peer's address, so nothing was sent there",
            advice=f"If that is the peer's own, too, visit it again with --also {rtp[0]}.",
            facts=facts,
        )
    return Finding(check="codecs", outcome=Outcome.GOOD, text=text, facts=facts)


async def timer(visit: Visit) -> Finding:
    """Say what it agreed to of session timers (RFC 4028); the phone asks for the shortest that there is."""
    made = visit.call
    answers = [one for one in visit.phone.got(made.status) if isinstance(one, Response) and one.cseq.method == "INVITE"]
    agreed = session_expires(answers[-1]) if answers else None
    short = [number_in(one, "Min-SE") for one in visit.phone.got(422) if isinstance(one, Response)]
    least = max((one for one in short if one is not None), default=None)
    facts = {"interval": agreed[0] if agreed else None, "refresher": agreed[1] if agreed else None, "min_se": least}
    if agreed is None:
        return Finding(
            check="session timer",
            outcome=Outcome.GOOD,
            text="it agreed to none; a server of ours refreshes towards it alone, every half of sip.session_expires",
            facts=facts,
        )
    seconds, refresher = agreed
    who = {"uac": "whoever called refreshes", "uas": "it refreshes"}.get(
        refresher or "", "it doesn't say who refreshes"
    )
    text = f"{seconds} s agreed, {who}"
    if least is not None:
        text = f"{SESSION_SECONDS} s were too short for it (422), it wants {least} s or more; then {text}"
    wrong = refresher not in ("uac", "uas")
    if wrong:
        visit.note("Session-Expires: refresher")
    return Finding(
        check="session timer",
        outcome=Outcome.ODD if wrong or seconds < SESSION_SECONDS else Outcome.GOOD,
        text=text + (" (RFC 4028 9 wants it said)" if wrong else ""),
        advice=f"sip.session_expires below {least} costs a refusal at each call." if least is not None else "",
        facts=facts,
    )


def need_call(visit: Visit) -> None:
    """Raise `NotDone` where there is no call."""
    if visit.why_no_call():
        raise NotDone(visit.why_no_call())
