"""Digest access authentication, both ends, for virtual phones (RFC 3261 22, RFC 7616, RFC 8760).

Owns: the hashes, challenges and the judging of answers, credentials and the answering of challenges. Must not know
sockets or calls. It is written from the RFCs and shares no code with the product's, so that one misreading can't hide
in both ends.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random

import attrs

from telephony.sip.message import Message, Request, Response, respond

#: RFC 8760 2.1, the strongest first.
HASHES: dict[str, Callable[[bytes], str]] = {
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data).hexdigest(),
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
}
_PAIR = re.compile(r'([A-Za-z0-9_\-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)\s*')
#: Methods that can't be sent again with credentials (RFC 3261 22.1).
NEVER = ("ACK", "CANCEL")


def response_hash(
    algorithm: str,
    username: str,
    realm: str,
    password: str,
    method: str,
    uri: str,
    nonce: str,
    *,
    nc: str | None = None,
    cnonce: str | None = None,
) -> str:
    """Return the ``response`` (RFC 7616 3.4.1): with qop=auth where ``nc`` and ``cnonce`` are given."""
    digest = HASHES[algorithm]
    first = digest(f"{username}:{realm}:{password}".encode())
    second = digest(f"{method}:{uri}".encode())
    middle = nonce if nc is None else f"{nonce}:{nc}:{cnonce}:auth"
    return digest(f"{first}:{middle}:{second}".encode())


def fields_of(text: str) -> dict[str, str] | None:
    """Return the parameters behind ``Digest``, names in lower case; None for another scheme or garbage."""
    scheme, _, rest = text.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    found: dict[str, str] = {}
    at = 0
    rest = rest.strip()
    while at < len(rest):
        pair = _PAIR.match(rest, at)
        if pair is None:
            return None
        name, quoted, plain = pair.groups()
        found[name.lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        at = pair.end()
    return found


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# -- who is challenged ---------------------------------------------------------------------------------------------


class Credentials:
    """A user's name and password, and what is needed to use them.

    ``algorithms`` are those the user's phone knows. ``challenges`` counts the challenges answered.
    """

    def __init__(self, username: str, password: str, random: Random, algorithms: Sequence[str] = tuple(HASHES)) -> None:
        self.username = username
        self.password = password
        self.algorithms = tuple(algorithms)
        self.challenges = 0
        self._random = random
        self._counts: Counter[str] = Counter()
        self._known: dict[tuple[str, str], dict[str, str]] = {}  # the last challenge, by our field and the realm

    def answer(self, request: Request, response: Response, tried: set[str]) -> bool:
        """Sign ``request`` as the 401 or 407 to it wants; False when it can't be done, or was in vain before.

        ``tried`` are the realms for which it was signed already; a stale nonce may be tried again. Of several
        challenges of a realm the first whose algorithm is known counts (RFC 8760 2.4).
        """
        wanted = "WWW-Authenticate" if response.status == 401 else "Proxy-Authenticate"
        written = "Authorization" if response.status == 401 else "Proxy-Authorization"
        done: set[str] = set()
        for text in response.get_all(wanted):
            challenge = fields_of(text)
            if challenge is None or "realm" not in challenge or "nonce" not in challenge:
                continue
            realm = challenge["realm"]
            algorithm = challenge.get("algorithm", "MD5").upper()
            if realm in done or algorithm not in self.algorithms:
                continue
            stale = challenge.get("stale", "").lower() == "true"
            if realm in tried and not stale:
                return False
            self._known[written, realm] = challenge
            done.add(realm)
            self.challenges += 1
        tried |= done
        if done:
            request.remove(written)
        for realm in sorted(done):
            request.add(written, self._signed(request, self._known[written, realm]))
        return bool(done)

    def sign(self, request: Request, *, anew: bool = False) -> None:
        """Sign a request by the last challenge of each realm, with its nonce's next count.

        With ``anew`` only what is signed already, as it is to be sent again: a count is used once.
        """
        present = {name: request.has(name) for name in ("Authorization", "Proxy-Authorization")}
        if request.method in NEVER or (not anew and any(present.values())):
            return
        for name in present:
            if not anew or present[name]:
                request.remove(name)
                for (written, _), challenge in self._known.items():
                    if written == name:
                        request.add(name, self._signed(request, challenge))

    def _signed(self, request: Request, challenge: dict[str, str]) -> str:
        realm, nonce = challenge["realm"], challenge["nonce"]
        algorithm = challenge.get("algorithm", "MD5")
        pairs = [("username", self.username), ("realm", realm), ("nonce", nonce), ("uri", request.uri)]
        text = "Digest " + ", ".join(f"{name}={_quoted(value)}" for name, value in pairs)
        nc = cnonce = None
        if "auth" in [one.strip() for one in challenge.get("qop", "").split(",")]:
            self._counts[nonce] += 1
            nc, cnonce = f"{self._counts[nonce]:08x}", f"{self._random.getrandbits(64):016x}"
        known = algorithm.upper()
        answer = response_hash(
            known, self.username, realm, self.password, request.method, request.uri, nonce, nc=nc, cnonce=cnonce
        )
        text += f', response="{answer}"'
        if "algorithm" in challenge:
            text += f", algorithm={algorithm}"
        if nc is not None:
            text += f', cnonce="{cnonce}", qop=auth, nc={nc}'
        if "opaque" in challenge:
            text += f", opaque={_quoted(challenge['opaque'])}"
        return text


# -- who challenges ------------------------------------------------------------------------------------------------


@attrs.define(slots=True)
class _Nonce:
    made: float
    count: int = 0


class Challenger:
    """Somebody who wants to know who calls. ``users`` are passwords by name.

    ``status`` is 401 (a server) or 407 (a proxy), ``algorithms`` are challenged for all at once, in this order;
    ``qop=False`` is RFC 2069's way. A nonce is good for ``lifetime`` seconds, then it is stale. ``accepted`` counts
    requests by user, ``refused`` those with wrong credentials, ``stale`` those with an old nonce, ``faults`` what was
    wrong in the peer's answers beyond a wrong password.
    """

    def __init__(
        self,
        random: Random,
        seconds: Callable[[], float],
        users: Mapping[str, str],
        *,
        realm: str = "simulated",
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        status: int = 401,
        qop: bool = True,
        lifetime: float = 3600.0,
    ) -> None:
        for algorithm in algorithms:
            if algorithm not in HASHES:
                raise ValueError(f"{algorithm} is no algorithm of RFC 8760: {', '.join(HASHES)} are")
        if status not in (401, 407):
            raise ValueError(f"a challenge is 401 or 407, not {status}")
        self.users = dict(users)
        self.realm = realm
        self.algorithms = tuple(algorithms)
        self.status = status
        self.qop = qop
        self.lifetime = lifetime
        self.accepted: Counter[str] = Counter()
        self.refused = self.stale = 0
        self.faults: list[str] = []
        self._random = random
        self._seconds = seconds
        self._nonces: dict[str, _Nonce] = {}

    def user_of(self, request: Request) -> str | None:
        """Return whom a request claims to be from, which `refusal` has let through; None for nobody."""
        for text in request.get_all("Authorization" if self.status == 401 else "Proxy-Authorization"):
            given = fields_of(text)
            if given is not None and given.get("realm") == self.realm:
                return given.get("username")
        return None

    def refusal(self, request: Request, to_tag: str | None = None) -> Response | None:
        """Return the challenge that a request gets; None where its credentials are right, or it can't have any."""
        if request.method in NEVER:
            return None
        name, stale = self._judge(request)
        if name is not None:
            self.accepted[name] += 1
            return None
        return self.challenge(request, stale, to_tag)

    def challenge(self, request: Request, stale: bool = False, to_tag: str | None = None) -> Response:
        """Return a 401 or 407 with a challenge for each algorithm (RFC 8760 2.3)."""
        response = respond(request, self.status, to_tag=to_tag)
        for algorithm in self.algorithms:
            nonce = f"{self._random.getrandbits(128):032x}"
            self._nonces[nonce] = _Nonce(self._seconds())
            text = f'Digest realm={_quoted(self.realm)}, nonce="{nonce}", opaque="{nonce[:8]}"'
            if stale:
                text += ", stale=true"
            text += f", algorithm={algorithm}"
            if self.qop:
                text += ', qop="auth"'
            response.add("WWW-Authenticate" if self.status == 401 else "Proxy-Authenticate", text)
        return response

    def _judge(self, request: Message) -> tuple[str | None, bool]:
        """Return the user, if the credentials are right, and whether only the nonce is wrong: it is too old."""
        assert isinstance(request, Request)
        written = "Authorization" if self.status == 401 else "Proxy-Authorization"
        for text in request.get_all(written):
            given = fields_of(text)
            if given is None:
                self.faults.append(f"{request.method}: {text!r} can't be read (RFC 7616 3.4)")
                continue
            if given.get("realm") != self.realm:
                continue
            found = self._fault(request, given)
            if found is None:
                return given["username"], False
            if found == "stale":
                self.stale += 1
                return None, True
            self.refused += 1
            if found != "password":
                self.faults.append(f"{request.method}: {found}")
        return None, False

    def _fault(self, request: Request, given: dict[str, str]) -> str | None:
        for name in ("username", "nonce", "uri", "response"):
            if name not in given:
                return f"no {name} (RFC 7616 3.4)"
        if given["uri"] != request.uri:
            return f"the uri {given['uri']!r} is not the Request-URI {request.uri!r} (RFC 3261 22.4)"
        algorithm = given.get("algorithm", "MD5")
        if algorithm not in self.algorithms:
            return f"algorithm {algorithm}, which we did not offer (RFC 8760 2.4)"
        nc = cnonce = None
        if self.qop:
            if given.get("qop") != "auth" or "nc" not in given or "cnonce" not in given:
                return "qop=auth was offered, and the answer has no qop, nc or cnonce (RFC 7616 3.4)"
            nc, cnonce = given["nc"], given["cnonce"]
            if re.fullmatch("[0-9a-f]{8}", nc) is None:
                return f"nc={nc} is not eight digits of hexadecimal (RFC 7616 3.4)"
        if given.get("opaque") != given["nonce"][:8]:
            return "the opaque is not the challenge's (RFC 7616 3.4)"
        password = self.users.get(given["username"])
        nonce = given["nonce"]
        if password is None or given["response"] != response_hash(
            algorithm,
            given["username"],
            self.realm,
            password,
            request.method,
            given["uri"],
            nonce,
            nc=nc,
            cnonce=cnonce,
        ):
            return "password"
        known = self._nonces.get(nonce)
        if known is None or self._seconds() - known.made > self.lifetime:
            return "stale"
        if nc is not None:
            if int(nc, 16) <= known.count:
                return f"nc={nc} for a nonce that was used up to {known.count:08x}: a replay (RFC 7616 3.4)"
            known.count = int(nc, 16)
        return None
