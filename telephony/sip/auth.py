"""Digest authentication, asked and asking (RFC 3261 22, RFC 7616, RFC 8760).

Owns: reading and writing challenges and credentials, the digest itself, what a client remembers of the challenges it
has met (`Authentication`), and what a server needs to challenge and to check without keeping anything for those who
fail (`Authority`). Must not know transactions, who may do what, or where passwords are kept; time and random text are
arguments. Passwords and what is computed from them never stand in a ``repr``.

Spoken are MD5, SHA-256 and SHA-512-256 with ``qop=auth``; as a client also the form without qop of RFC 2069. The
``-sess`` variants and ``auth-int`` are not.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

import attrs

from telephony.errors import RemoteProtocolError
from telephony.sip.grammar import check_writable, excerpt, quote, unquote
from telephony.sip.message import Request, Response

#: The algorithms, strongest first (RFC 8760 2.1), and what Python calls them.
ALGORITHMS = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
#: What a server of ours offers, in this order: RFC 8760 2.3 wants the one it likes best first.
OFFERED = ("SHA-256", "MD5")

#: How many challenges one response may hold, and how many realms one user is remembered for.
MAX_CHALLENGES = 16
MAX_REALMS = 4
#: How long a nonce of ours is good, in seconds, and of how many the counts are remembered.
NONCE_LIFE = 300
MAX_NONCES = 10_000
#: How far behind the highest count a request may come, for those that overtake each other.
NONCE_WINDOW = 64

_PART = re.compile(
    r'[\s,]*+([A-Za-z0-9\-.!%*_+`\'~]++)(?:[ \t]*+=[ \t]*+("(?:[^"\\]++|\\.)*+"|[^\s,"]*+))?+', re.DOTALL
)
_COUNT = re.compile(r"[0-9A-Fa-f]{1,8}")
_NONCE = re.compile(r"([0-9a-f]{8})([0-9a-f]{12})([0-9a-f]{32})")


@attrs.frozen
class Account:
    """A name and password of ours at somebody's server. With ``realm`` no other realm is answered."""

    user: str
    password: str = attrs.field(repr=False)
    realm: str | None = None


@attrs.frozen
class Challenge:
    """What a 401 or 407 asks for. ``algorithm`` is as in `ALGORITHMS`, ``named`` whether the challenge says so.

    ``qop`` is False in the form of RFC 2069, which had none.
    """

    realm: str
    nonce: str
    algorithm: str
    named: bool
    qop: bool
    opaque: str | None
    stale: bool
    proxy: bool


@attrs.frozen
class Credentials:
    """What an Authorization or Proxy-Authorization says."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str = attrs.field(repr=False)
    algorithm: str
    cnonce: str
    count: int | None
    """The nonce count; None where there is none."""


def digest(algorithm: str, text: str) -> str:
    """Return the hash of ``text`` by one of `ALGORITHMS`, in hexadecimal."""
    return hashlib.new(ALGORITHMS[algorithm], text.encode("utf-8", "surrogateescape")).hexdigest()


def ha1(algorithm: str, user: str, realm: str, password: str) -> str:
    """Return what stands for a user's password (RFC 7616 3.4.2). It is as secret as the password, in that realm."""
    return digest(algorithm, f"{user}:{realm}:{password}")


def ha1s(user: str, realm: str, password: str) -> dict[str, str]:
    """Return `ha1` for every algorithm."""
    return {algorithm: ha1(algorithm, user, realm, password) for algorithm in ALGORITHMS}


def proof(
    secret: str, algorithm: str, method: str, uri: str, nonce: str, cnonce: str = "", count: int | None = None
) -> str:
    """Return the response that shows knowledge of a secret made by `ha1` (RFC 7616 3.4.1).

    With ``count`` it is that of ``qop=auth``, without it that of RFC 2069.
    """
    request = digest(algorithm, f"{method}:{uri}")
    if count is None:
        return digest(algorithm, f"{secret}:{nonce}:{request}")
    return digest(algorithm, f"{secret}:{nonce}:{count:08x}:{cnonce}:auth:{request}")


# -- reading -----------------------------------------------------------------------------------------------------


def _parts(text: str) -> list[tuple[str, dict[str, str]]]:
    """Take a field's value apart: schemes in lower case, each with its parameters, quotes and escapes taken away."""
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    end = len(text.rstrip(" \t\r\n,"))
    while position < end:
        part = _PART.match(text, position)
        if part is None:
            raise RemoteProtocolError(f"{excerpt(text[position:])} is no challenge and no credentials")
        position = part.end()
        name, value = part[1].lower(), part[2]
        if value is None:
            if len(found) >= MAX_CHALLENGES:
                raise RemoteProtocolError(f"more than {MAX_CHALLENGES} challenges in one message")
            found.append((name, {}))
        elif not found:
            raise RemoteProtocolError(f"a parameter without a scheme before it in {excerpt(text)}")
        else:
            # The first of two wins: nobody who means well writes two.
            found[-1][1].setdefault(name, unquote(value))
    return found


def _algorithm(parameters: Mapping[str, str]) -> str:
    """Return the algorithm in its usual spelling, whether we speak it or not."""
    return parameters.get("algorithm", "MD5").upper()


def read_challenges(response: Response) -> tuple[list[Challenge], list[str]]:
    """Return what of a 401 or 407 can be answered, and in words what can't. Never raises."""
    proxy = response.status == 407
    challenges: list[Challenge] = []
    unfit: list[str] = []
    for value in response.get_all("Proxy-Authenticate" if proxy else "WWW-Authenticate")[:MAX_CHALLENGES]:
        try:
            parts = _parts(value)
        except RemoteProtocolError as error:
            unfit.append(str(error))
            continue
        for scheme, parameters in parts:
            if scheme != "digest":
                unfit.append(f"the scheme {excerpt(scheme)}")
                continue
            algorithm = _algorithm(parameters)
            qop = parameters.get("qop")
            offered = [one.strip().lower() for one in (qop or "").split(",")]
            if algorithm not in ALGORITHMS:
                unfit.append(f"the algorithm {excerpt(algorithm)}")
            elif qop and "auth" not in offered:
                unfit.append(f"qop={excerpt(qop)}")
            elif "realm" not in parameters or not parameters.get("nonce"):
                unfit.append("a challenge without realm or nonce")
            elif len(challenges) < MAX_CHALLENGES:
                challenges.append(
                    Challenge(
                        realm=parameters["realm"],
                        nonce=parameters["nonce"],
                        algorithm=algorithm,
                        named="algorithm" in parameters,
                        qop=bool(qop),
                        opaque=parameters.get("opaque"),
                        stale=parameters.get("stale", "").lower() == "true",
                        proxy=proxy,
                    )
                )
    if not challenges and not unfit:
        unfit.append("no challenge at all")
    return challenges, unfit


def strongest(challenges: Iterable[Challenge]) -> list[Challenge]:
    """Return one challenge for each realm, that of the strongest algorithm (RFC 8760 2.4)."""
    order = list(ALGORITHMS)
    best: dict[str, Challenge] = {}
    for one in challenges:
        known = best.get(one.realm)
        if known is None or order.index(one.algorithm) < order.index(known.algorithm):
            best[one.realm] = one
    return list(best.values())


def read_credentials(request: Request, realm: str, *, proxy: bool = False) -> Credentials | None:
    """Return a request's credentials for a realm of ours; None where there are none that could be checked.

    RFC 3261 22.1: those for other realms are somebody else's.
    """
    for value in request.get_all("Proxy-Authorization" if proxy else "Authorization")[:MAX_CHALLENGES]:
        try:
            parts = _parts(value)
        except RemoteProtocolError:
            continue
        for scheme, told in parts:
            if scheme != "digest" or told.get("realm") != realm:
                continue
            count = told.get("nc", "")
            return Credentials(
                username=told.get("username", ""),
                realm=realm,
                nonce=told.get("nonce", ""),
                uri=told.get("uri", ""),
                response=told.get("response", "").lower(),
                algorithm=_algorithm(told),
                cnonce=told.get("cnonce", ""),
                count=int(count, 16) if told.get("qop", "").lower() == "auth" and _COUNT.fullmatch(count) else None,
            )
    return None


# -- as a client -------------------------------------------------------------------------------------------------


class Authentication:
    """One user of ours and the challenges that were met under one Call-ID (RFC 3261 22.3: no further)."""

    __slots__ = ("_known", "_proxies_only", "account")

    def __init__(self, account: Account) -> None:
        self.account = account
        self._proxies_only = False
        #: By whether a proxy asked, and realm: the challenge, and how often its nonce has been used.
        self._known: dict[tuple[bool, str], tuple[Challenge, int]] = {}

    def fitting(self, response: Response) -> tuple[list[Challenge], str]:
        """Return the challenges of a 401 or 407 that are for this user, one a realm; without any, why there is none."""
        challenges, unfit = read_challenges(response)
        if self._proxies_only and response.status == 401:
            return [], "it comes from somebody whom the password is not for"
        mine = [one for one in strongest(challenges) if self.account.realm in (None, one.realm)]
        if mine:
            return mine, ""
        if challenges:
            realms = ", ".join(excerpt(one.realm) for one in challenges[:4])
            return [], f"it is for {realms}, and the password is for {excerpt(self.account.realm or '')}"
        return [], f"it asks for {', '.join(unfit[:4])}, which is not spoken here"

    def leave_target(self) -> None:
        """Answer proxies only from now on: the target is another one than the account is for (a 3xx was followed)."""
        self._proxies_only = True
        self._known = {key: value for key, value in self._known.items() if key[0]}

    def take(self, challenge: Challenge) -> None:
        """Answer this challenge from now on."""
        key = (challenge.proxy, challenge.realm)
        known = self._known.pop(key, None)
        if known is None and len(self._known) >= MAX_REALMS:
            del self._known[next(iter(self._known))]
        self._known[key] = (challenge, known[1] if known is not None and known[0].nonce == challenge.nonce else 0)

    def authorize(self, request: Request, cnonce: str) -> dict[tuple[bool, str], str]:
        """Write the credentials for every challenge met so far into a request, in place of those that are there.

        Returns the nonces they are for, by whether a proxy asked, and realm.
        """
        request.remove("Authorization")
        request.remove("Proxy-Authorization")
        for key, (challenge, used) in self._known.items():
            self._known[key] = (challenge, used + 1)
            name = "Proxy-Authorization" if challenge.proxy else "Authorization"
            request.add(name, self._credentials(challenge, request, used + 1, cnonce))
        return {key: challenge.nonce for key, (challenge, _used) in self._known.items()}

    def _credentials(self, challenge: Challenge, request: Request, count: int, cnonce: str) -> str:
        account, algorithm = self.account, challenge.algorithm
        secret = ha1(algorithm, account.user, challenge.realm, account.password)
        counted = count if challenge.qop else None
        response = proof(secret, algorithm, request.method, request.uri, challenge.nonce, cnonce, counted)
        text = (
            f"Digest username={quote(account.user)}, realm={quote(challenge.realm)}, nonce={quote(challenge.nonce)}, "
            f'uri="{request.uri}", response="{response}"'
        )
        if challenge.named:
            text += f", algorithm={algorithm}"
        if challenge.opaque is not None:
            text += f", opaque={quote(challenge.opaque)}"
        if challenge.qop:
            text += f', qop=auth, nc={count:08x}, cnonce="{cnonce}"'
        return text


def copy_credentials(invite: Request, ack: Request) -> None:
    """Give an ACK the credentials of its INVITE (RFC 3261 22.1): nobody may challenge it, so it can't earn its own."""
    for name in ("Authorization", "Proxy-Authorization"):
        for value in invite.get_all(name):
            ack.add(name, value)


# -- as a server -------------------------------------------------------------------------------------------------


class Verdict(Enum):
    """What `Authority.check` finds."""

    GRANTED = "the password is right"
    STALE = "the password is right, but the nonce has had its time, was made for another address, or is used up"
    REFUSED = "the password is wrong, or nobody has that name"


class Authority:
    """Challenges for one realm, and checks the answers.

    Nonces say by themselves when and for which address they were made, under a hash that only ``key`` can make, so
    that whoever asks without a password costs no memory. Of the nonces that were answered rightly the counts are kept,
    against replay (RFC 7616 3.3, *nc*): at most `MAX_NONCES`, the oldest are forgotten and count as stale.
    """

    __slots__ = ("_counts", "_dummy", "_floor", "_key", "_serial", "algorithms", "realm")

    def __init__(self, key: bytes, realm: str, algorithms: Sequence[str] = OFFERED) -> None:
        self._key = key
        self.realm = check_writable(realm)
        self.algorithms = tuple(algorithms)
        self._serial = 0
        #: By a nonce's number: the highest count seen, and the bits of those just below it.
        self._counts: dict[int, tuple[int, int]] = {}
        #: Nonces up to this number whose counts have been forgotten.
        self._floor = 0
        # Somebody to be checked when nobody has the name: whoever asks must not learn it from the time it takes.
        self._dummy = {one: hmac.new(key, one.encode(), ALGORITHMS[one]).hexdigest() for one in self.algorithms}

    def challenges(self, source: str, now: float, *, stale: bool = False) -> list[str]:
        """Return the values of a WWW-Authenticate or Proxy-Authenticate for a peer at the address ``source``."""
        self._serial += 1
        nonce = self._nonce(max(0, int(now)), self._serial, source)
        more = ", stale=true" if stale else ""
        return [
            f'Digest realm={quote(self.realm)}, nonce="{nonce}", algorithm={one}, qop="auth"{more}'
            for one in self.algorithms
        ]

    def _nonce(self, issued: int, serial: int, source: str) -> str:
        text = f"{issued & 0xFFFFFFFF:08x}{serial & 0xFFFFFFFFFFFF:012x}"
        return text + hmac.new(self._key, f"{text} {source}".encode(), "sha256").hexdigest()[:32]

    def check(
        self, credentials: Credentials, secrets: Mapping[str, str] | None, request: Request, source: str, now: float
    ) -> Verdict:
        """Judge credentials that came with a request from ``source``.

        The URI in them need not be that of the request: a proxy may have changed the latter (RFC 3261 22.4 rule 8).
        ``secrets`` are the user's, by algorithm, as `ha1` makes them; None where nobody has that name, which takes the
        same time and ends as a wrong password does.
        """
        algorithm = credentials.algorithm if credentials.algorithm in self.algorithms else self.algorithms[0]
        known = secrets.get(algorithm) if secrets is not None else None
        secret = self._dummy[algorithm] if known is None else known
        expected = proof(
            secret,
            algorithm,
            request.method,
            credentials.uri,
            credentials.nonce,
            credentials.cnonce,
            credentials.count or 0,
        )
        given = credentials.response.encode("utf-8", "surrogateescape")
        right = hmac.compare_digest(expected.encode(), given)
        sound = credentials.count is not None and bool(credentials.cnonce) and credentials.algorithm == algorithm
        number = self._number(credentials.nonce, source, now)
        if not right or not sound or known is None:
            return Verdict.REFUSED
        assert credentials.count is not None
        return Verdict.GRANTED if number is not None and self._counted(number, credentials.count) else Verdict.STALE

    def _number(self, nonce: str, source: str, now: float) -> int | None:
        """Return the number of a nonce of ours that is still good for ``source``, else None."""
        found = _NONCE.fullmatch(nonce)
        issued, serial = (int(found[1], 16), int(found[2], 16)) if found else (0, 0)
        genuine = hmac.compare_digest(self._nonce(issued, serial, source).encode(), nonce.encode("utf-8", "replace"))
        return serial if genuine and 0 <= int(now) - issued <= NONCE_LIFE else None

    def _counted(self, number: int, count: int) -> bool:
        """Note that a nonce was used with a count; False when it has been before, or too long ago to tell."""
        counts = self._counts
        known = counts.get(number)
        if known is None:
            if number <= self._floor:
                return False
            if len(counts) >= MAX_NONCES:
                oldest = next(iter(counts))
                del counts[oldest]
                self._floor = max(self._floor, oldest)
            counts[number] = (count, 1)
            return number > self._floor
        highest, seen = known
        if count > highest:
            shift = count - highest
            seen = (seen << shift if shift < NONCE_WINDOW else 0) & ((1 << NONCE_WINDOW) - 1)
            counts[number] = (count, seen | 1)
            return True
        bit = 1 << (highest - count) if highest - count < NONCE_WINDOW else 0
        if not bit or seen & bit:
            return False
        counts[number] = (highest, seen | bit)
        return True
