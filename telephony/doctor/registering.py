"""Checks of signing in: REGISTER, each digest algorithm, nonces, times, a wrong password (RFC 3261 10, RFC 8760).

Owns: these checks and their sentences. Must not know calls. One wrong password is sent, once: more would get people
locked out.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from telephony.doctor.findings import Finding, NotDone, Outcome
from telephony.doctor.visit import Visit, listed, milliseconds, number_in, quoted
from telephony.sip.message import Request, Response
from telephony.testing.digest import HASHES, Credentials, fields_of
from telephony.testing.phone_registration import Registration

#: How long we sign in for, and the time that is too short for most registrars (seconds).
EXPIRES = 300
SHORT = 5
#: What says that user or password are wrong (RFC 3261 22.1, 21.4.4); anything else is about something else.
WRONG_PASSWORD = (401, 403, 407)


def _challenges(response: Response) -> list[dict[str, str]]:
    name = "WWW-Authenticate" if response.status == 401 else "Proxy-Authenticate"
    found = [fields_of(text) for text in response.get_all(name)]
    return [one for one in found if one is not None and "nonce" in one]


def _register(visit: Visit, expires: int) -> Request:
    """Return a REGISTER of our Contact; like the phone's, for the same address."""
    registration = visit.phone.registration
    assert registration is not None
    request = visit.request("REGISTER", visit.asked.server, visit.transport, aor=registration.aor)
    request.set("Contact", f"<{visit.phone.contact(visit.transport)}>;expires={expires}")
    return request


def _granted(visit: Visit, response: Response) -> int | None:
    """Return for how long our Contact is bound by a 2xx; None where it doesn't say."""
    port = visit.phone.wire.address[1] + (visit.transport == "TLS")
    for contact in response.contacts:
        if f":{port}" in contact.uri:
            text = contact.params.get("expires") or ""
            return int(text) if text.isdigit() else number_in(response, "Expires")
    return number_in(response, "Expires") if not response.contacts else None


async def register(visit: Visit) -> Finding:
    """Sign in, with whatever algorithm the peer prefers."""
    asked, phone = visit.asked, visit.phone
    registration = Registration(phone, asked.server, EXPIRES, keep=False, keep_alive=0.0)
    registration.aor = visit.own_address()
    phone.registration = registration
    request = _register(visit, EXPIRES)
    began = visit.clock.seconds()
    first = await visit.ask(request, visit.way())
    if first is None:
        return Finding(check="register", outcome=Outcome.BAD, text="no answer to REGISTER in time")
    if first.status < 300:
        visit.registered = True
        return Finding(
            check="register",
            outcome=Outcome.ODD,
            text=f"it signed {registration.aor} in without asking for a password",
            advice="If it knows us by our address that is as it should be; else anybody can take this user's calls.",
        )
    if first.status not in (401, 407):
        advice = "Ask the carrier whether it wants a registration; without one, leave trunk.register away."
        if first.status == 423:
            advice = f"Set trunk.expires to {number_in(first, 'Min-Expires') or 'what it wants'} or more."
        return Finding(
            check="register",
            outcome=Outcome.BAD,
            text=f"it refuses REGISTER with {quoted(first)}, without asking for a password",
            advice=advice,
            facts={"status": first.status},
        )
    offered = _challenges(first)
    visit.challenged = [one.get("algorithm", "MD5").upper() for one in offered]
    realms = list(dict.fromkeys(one.get("realm", "") for one in offered))
    facts = {"algorithms": visit.challenged, "realms": realms, "status": first.status}
    if not any(one in HASHES for one in visit.challenged):
        what = f"wants {listed(visit.challenged)}" if visit.challenged else "asks in no way that can be read"
        return Finding(
            check="register", outcome=Outcome.BAD, text=f"it {what}, which no SIP digest of ours answers", facts=facts
        )
    phone.sending.credentials = visit.credentials()
    status = await visit.within(registration.send(), 2 * asked.timeout)
    if not status:
        return Finding(check="register", outcome=Outcome.BAD, text="no answer to REGISTER with our password in time")
    if status >= 300:
        last = [one.message for one in phone.log if not one.sent and isinstance(one.message, Response)]
        said = quoted(last[-1]) if last else str(status)
        if status not in WRONG_PASSWORD:
            return Finding(
                check="register",
                outcome=Outcome.BAD,
                text=f"it takes our password, and refuses to sign {registration.aor} in with {said}",
                advice="Name the domain that it serves: a trunk's trunk.host, and here sip:NUMBER@DOMAIN.",
                facts=facts,
            )
        return Finding(
            check="register",
            outcome=Outcome.BAD,
            text=f"it refuses {asked.user} with {said}: user or password are wrong, for realm {listed(realms)}",
            advice="Check trunk.user and trunk.password; trunk.realm keeps the password from other realms.",
            facts=facts,
        )
    visit.registered = True
    return Finding(
        check="register",
        outcome=Outcome.GOOD,
        text=f"{registration.aor} is signed in, after a {first.status} for realm {listed(realms)}, "
        f"in {milliseconds(visit.since(began))}",
        facts=facts,
    )


def digest(algorithm: str) -> Callable[[Visit], Coroutine[Any, Any, Finding]]:
    """Return the check of one algorithm."""

    async def check(visit: Visit) -> Finding:
        """Sign in with this algorithm and no other (RFC 7616, RFC 8760)."""
        name = algorithm.lower()
        if not visit.challenged:
            raise NotDone("it asked for no password")
        if algorithm not in visit.challenged:
            raise NotDone(f"it doesn't ask for it; it asks for {listed(visit.challenged)}")
        if not visit.registered and len(set(visit.challenged)) == 1:
            raise NotDone("it was refused already, and a password that is wrong isn't sent twice")
        response = await visit.ask(_register(visit, EXPIRES), visit.way(), visit.credentials(None, algorithm))
        if response is not None and response.status < 300:
            visit.registered = True
            return Finding(check=name, outcome=Outcome.GOOD, text=f"it asks for {algorithm}, and takes our answer")
        if response is not None and response.status not in WRONG_PASSWORD:
            raise NotDone(f"it refuses with {quoted(response)}, which says nothing of our answer by it")
        said = "doesn't answer" if response is None else f"refuses with {quoted(response)}"
        first = visit.challenged[0] == algorithm
        advice = "Its own passwords may be stored for another algorithm only."
        if not first:
            advice += " A server of ours answers the strongest that is asked for."
        return Finding(
            check=name,
            outcome=Outcome.BAD,
            text=f"it asks for {algorithm}, and {said} to an answer by it",
            advice=advice,
        )

    return check


async def expires(visit: Visit) -> Finding:
    """See how long a registration may last, and how short it may be (RFC 3261 10.2.8, 10.3)."""
    _signed_in(visit)
    long = await visit.ask(_register(visit, 3600), visit.way(), visit.credentials())
    granted = None if long is None or long.status >= 300 else _granted(visit, long)
    short = await visit.ask(_register(visit, SHORT), visit.way(), visit.credentials())
    facts: dict[str, object] = {"granted": granted}
    if granted is None:
        return Finding(
            check="expires",
            outcome=Outcome.ODD,
            text="it took a REGISTER for an hour, and doesn't say for how long our Contact is bound (RFC 3261 10.3 8)",
            facts=facts,
        )
    text = f"asked for 3600 s it grants {granted} s"
    least = None
    if short is not None and short.status == 423:
        least = number_in(short, "Min-Expires")
        if least is None:
            return Finding(
                check="expires",
                outcome=Outcome.ODD,
                text=f"{text}; {SHORT} s are too few for it, and its 423 has no Min-Expires (RFC 3261 21.4.17)",
                advice="Set trunk.expires to a time it takes, like 3600.",
                facts=facts,
            )
        text += f"; {SHORT} s are too few, it wants {least} s or more"
    elif short is not None and short.status < 300:
        given = _granted(visit, short)
        text += f"; asked for {SHORT} s it grants {given} s" if given is not None else ""
    facts["min_expires"] = least
    if granted < 60:
        return Finding(
            check="expires",
            outcome=Outcome.ODD,
            text=f"{text}: that is a REGISTER every {max(1, round(granted * 0.9))} s",
            advice="trunk.keep_alive can be 0: the registration itself keeps a NAT open.",
            facts=facts,
        )
    advice = f"A trunk.expires below {least} is raised to that." if least and least > 60 else ""
    return Finding(check="expires", outcome=Outcome.GOOD, text=text, advice=advice, facts=facts)


class _OldNonce(Credentials):
    """Credentials that answer with a nonce the peer has never made, or has long forgotten."""

    def answer(self, request: Request, response: Response, tried: set[str]) -> bool:
        """Sign once, for a nonce of our own."""
        if tried:
            return False
        for name in ("WWW-Authenticate", "Proxy-Authenticate"):
            changed = []
            for text in response.get_all(name):
                nonce = (fields_of(text) or {}).get("nonce")
                if nonce:
                    changed.append(text.replace(nonce, nonce[::-1] if nonce != nonce[::-1] else nonce + "0"))
            response.remove(name)
            for text in changed:
                response.add(name, text)
        return super().answer(request, response, tried)


async def stale(visit: Visit) -> Finding:
    """Answer with a nonce that the peer never made: it has to ask again, and may say that only the nonce is old."""
    if not visit.challenged:
        raise NotDone("it asked for no password")
    _signed_in(visit)
    asked = visit.asked
    assert asked.user is not None and asked.password is not None
    old = _OldNonce(asked.user, asked.password, visit.host.random)
    response = await visit.ask(_register(visit, EXPIRES), visit.way(), old)
    if response is None:
        return Finding(
            check="old nonce", outcome=Outcome.BAD, text="no answer to a REGISTER with a nonce it never made"
        )
    if response.status < 300:
        return Finding(
            check="old nonce",
            outcome=Outcome.BAD,
            text="it takes the right password with a nonce it never made: who overhears a REGISTER can send it again",
            advice="Register over TLS: trunk.host with ;transport=tls.",
        )
    fresh = [one for one in _challenges(response) if one.get("stale", "").lower() == "true"]
    if fresh:
        return Finding(
            check="old nonce", outcome=Outcome.GOOD, text="it asks again with stale=true, so no password is in doubt"
        )
    if response.status in (401, 407):
        return Finding(
            check="old nonce",
            outcome=Outcome.GOOD,
            text=f"it asks again with {response.status}, without stale=true: a server of ours answers that once",
        )
    return Finding(
        check="old nonce",
        outcome=Outcome.ODD,
        text=f"it refuses a nonce it doesn't know with {quoted(response)} in place of asking again (RFC 7616 3.3)",
        advice="After it has been restarted, our registration comes back a quarter of an hour late.",
    )


async def wrong_password(visit: Visit) -> Finding:
    """Send one wrong password: it must be refused."""
    if not visit.challenged:
        raise NotDone("it asked for no password")
    _signed_in(visit)
    wrong = f"not-{visit.phone.token()}"
    response = await visit.ask(_register(visit, EXPIRES), visit.way(), visit.credentials(wrong))
    if response is None:
        return Finding(
            check="wrong password",
            outcome=Outcome.ODD,
            text="it doesn't answer a wrong password at all",
            advice="A server of ours takes that for a registrar in trouble, and tries again after some seconds.",
        )
    if response.status < 300:
        return Finding(
            check="wrong password",
            outcome=Outcome.BAD,
            text=f"it took a wrong password for {visit.asked.user}: anybody can sign in",
        )
    return Finding(check="wrong password", outcome=Outcome.GOOD, text=f"it is refused, with {quoted(response)}")


def _signed_in(visit: Visit) -> None:
    if not visit.registered:
        raise NotDone("signing in has failed")


async def sign_off(visit: Visit) -> Finding:
    """Take our Contact away again (RFC 3261 10.2.2); done at the end, or when the visit is interrupted."""
    _signed_in(visit)
    response = await visit.ask(_register(visit, 0), visit.way(), visit.credentials())
    if response is None or response.status >= 300:
        said = "no answer" if response is None else quoted(response)
        return Finding(
            check="sign off",
            outcome=Outcome.ODD,
            text=f"our Contact can't be taken away again ({said}); it ends by itself within the hour",
        )
    visit.registered = False
    left = _granted(visit, response) if response.contacts else None
    if left:
        return Finding(
            check="sign off",
            outcome=Outcome.ODD,
            text=f"it takes the sign-off and still lists our Contact, for {left} s (RFC 3261 10.3 8)",
        )
    return Finding(check="sign off", outcome=Outcome.GOOD, text="our Contact is gone again, others are left alone")
