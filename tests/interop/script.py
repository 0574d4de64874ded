"""SIPp scenarios that are put together step by step, where a file for each would repeat the same messages.

`Script` writes the XML that SIPp reads, with the same keys as the files in ``scenarios``: ``-key audio`` is our RTP
port, ``-key formats`` are payload types. A caller's script begins with `Script.invites`, a target's with
`Script.invited`; each further step is a message that is expected, or one that is sent. What comes and isn't expected
fails the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

#: The tag of a target that has but one.
TAG = "[pid]target[call_number]"


def sdp(
    *, version: int = 1, direction: str = "", port: str = "[audio]", address: str = "[media_ip]", events: int = 101
) -> str:
    """Describe one audio stream; ``events`` is the payload type of telephone events."""
    lines = [
        "v=0",
        f"o=sipp 5365 {version} IN IP[media_ip_type] [media_ip]",
        "s=-",
        f"c=IN IP[media_ip_type] {address}",
        "t=0 0",
        f"m=audio {port} RTP/AVP [formats]",
        f"a=rtpmap:{events} telephone-event/8000",
        f"a=fmtp:{events} 0-15",
    ]
    return "\n".join([*lines, f"a={direction}"] if direction else lines)


class Script:
    """One scenario. Every step returns the script, so that they can be strung together."""

    def __init__(self, name: str, tag: str = TAG, at: str = "[remote_ip]:[remote_port];transport=[transport]") -> None:
        """Begin; ``tag`` is a target's own, ``at`` what a caller's Request-URI has behind the @."""
        self.name = name
        self._at = at
        self._tag = tag
        self._steps: list[str] = []
        self._kept: list[str] = []
        self._calling = False
        self._requests = 0
        self._number = 0
        """The CSeq number of our latest request."""
        self._invites: dict[int, int] = {}
        """The branches of our INVITEs by their CSeq numbers."""
        self._routed = False
        self._latest = ""
        """What the request that came last is kept as."""

    def write(self, directory: Path) -> Path:
        """Write the file that SIPp reads."""
        kept = f'  <Reference variables="{",".join(self._kept)}"/>\n' if self._kept else ""
        path = directory / f"{self.name}.xml"
        path.write_text(
            f'<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="{self.name}">\n'
            + "".join(self._steps)
            + f"{kept}</scenario>\n"
        )
        return path

    # -- what comes ----------------------------------------------------------------------------------------------

    def gets(self, what: str | int, keep: str = "", *, optional: bool = False, seconds: int = 20) -> Script:
        """Expect a request's method or a response's status; ``keep`` names a request that is answered later."""
        kind = "response" if isinstance(what, int) else "request"
        attributes = f'{kind}="{what}"' + (' optional="true"' if optional else f' timeout="{seconds * 1000}"')
        if not self._routed and (what == "INVITE" or (isinstance(what, int) and 100 < what < 300 and not optional)):
            attributes += ' rrs="true"'
            self._routed = True
        self._latest = keep
        if not keep:
            self._steps.append(f"  <recv {attributes}/>\n")
            return self
        lines = ""
        for header in ("Via", "From", "To", "CSeq"):
            name = f"{keep}_{header.lower()}"
            if name not in self._kept:
                self._kept.append(name)
            lines += (
                f'      <ereg regexp=".*" search_in="hdr" header="{header}:" check_it="true" assign_to="{name}"/>\n'
            )
        self._steps.append(f"  <recv {attributes}>\n    <action>\n{lines}    </action>\n  </recv>\n")
        return self

    def invited(self) -> Script:
        """Begin as a target: expect the INVITE, and keep it as ``invite``."""
        return self.gets("INVITE", "invite", seconds=60)

    def pause(self, milliseconds: int) -> Script:
        """Wait; what comes meanwhile is for the next step."""
        self._steps.append(f'  <pause milliseconds="{milliseconds}"/>\n')
        return self

    # -- what is sent --------------------------------------------------------------------------------------------

    def _send(self, lines: Sequence[str], body: str, *, again: bool) -> Script:
        kind = "message/sipfrag;version=2.0" if body.startswith("SIP/2.0 ") else "application/sdp"
        typed = (f"Content-Type: {kind}",) if body else ()
        text = "\n".join(f"      {one}" for one in [*lines, *typed, "Content-Length: [len]", "", *body.split("\n")])
        retrans = ' retrans="500"' if again else ""
        self._steps.append(f"  <send{retrans}>\n    <![CDATA[\n{text.rstrip(' ')}\n    ]]>\n  </send>\n")
        return self

    def says(
        self, status: int, to: str = "", *, body: str = "", tag: str = "", more: Sequence[str] = (), again: bool = True
    ) -> Script:
        """Answer the request that came last, or the kept one; ``tag`` is put behind its To.

        Finals of an INVITE that was kept are repeated until something comes, unless ``again`` is false.
        """
        tagged = f";tag={tag}" if tag else ""
        # What is kept has but the first Via: enough, except behind a proxy.
        if to and to != self._latest:
            fields = [f"Via:[${to}_via]", f"From:[${to}_from]", f"To:[${to}_to]{tagged}"]
            fields += ["Call-ID: [call_id]", f"CSeq:[${to}_cseq]"]
        else:
            fields = ["[last_Via:]", "[last_Record-Route:]", "[last_From:]", f"[last_To:]{tagged}"]
            fields += ["[last_Call-ID:]", "[last_CSeq:]"]
        contact = "Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>"
        start = f"SIP/2.0 {status} Status {status}"
        return self._send([start, *fields, contact, *more], body, again=again and bool(to) and status >= 200)

    def invites(self, *, body: str = "", more: Sequence[str] = (), to_tag: bool = False) -> Script:
        """Send an INVITE: the first one of a caller, or with ``to_tag`` one in the dialog."""
        self._calling = self._calling or not to_tag
        self._number += 1
        self._requests += 1
        self._invites[self._number] = self._requests
        target = "[next_url]" if to_tag else f"sip:[service]@{self._at}"
        return self._asks("INVITE", target, self._number, self._requests, to_tag=to_tag, body=body, more=more)

    def asks(self, method: str, *, body: str = "", more: Sequence[str] = (), number: int = 0) -> Script:
        """Send another request in the dialog; ``number`` is its CSeq number if not the next one."""
        self._number = self._number if number else self._number + 1
        self._requests += 1
        return self._asks(method, "[next_url]", number or self._number, self._requests, body=body, more=more)

    def acks(self, status: int = 200, *, body: str = "", number: int = 0) -> Script:
        """Acknowledge a final (RFC 3261 13.2.2.4 and 17.1.1.3): the latest INVITE's, or of that CSeq number."""
        number, branch = (number, self._invites[number]) if number else max(self._invites.items())
        if status < 300:
            self._requests += 1
            branch = self._requests
        return self._asks("ACK", "[next_url]", number, branch, body=body)

    def cancels(self) -> Script:
        """Cancel the first INVITE of a caller (RFC 3261 9.1)."""
        return self._asks("CANCEL", f"sip:[service]@{self._at}", 1, self._invites[1], to_tag=False)

    def _asks(
        self,
        method: str,
        target: str,
        number: int,
        branch: int,
        *,
        to_tag: bool = True,
        body: str = "",
        more: Sequence[str] = (),
    ) -> Script:
        if self._calling:
            parties = ['From: "A. Caller" <sip:caller@[local_ip]:[local_port]>;tag=[pid]caller[call_number]']
            parties += ["To: <sip:[service]@[remote_ip]:[remote_port]>" + ("[peer_tag_param]" if to_tag else "")]
        else:
            parties = ["From:[$invite_to];tag=" + self._tag, "To:[$invite_from]"]
        lines = [
            f"{method} {target} SIP/2.0",
            f"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK[pid]x[call_number]x{branch}",
            *(["[routes]"] if to_tag else []),
            *parties,
            "Call-ID: [call_id]",
            f"CSeq: {number} {method}",
            "Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>",
            "Max-Forwards: 70",
            *more,
        ]
        return self._send(lines, body, again=method != "ACK")

    # -- what comes up often -------------------------------------------------------------------------------------

    def calls(self) -> Script:
        """Call and be answered."""
        return self.invites(body=sdp()).gets(100, optional=True).gets(200).acks()

    def rings(self) -> Script:
        """Answer the kept INVITE with a 180."""
        return self.says(180, "invite", tag=self._tag)

    def answers(self, body: str = sdp()) -> Script:
        """Answer the kept INVITE and be acknowledged."""
        return self.says(200, "invite", tag=self._tag, body=body).gets("ACK")

    def changes(self, body: str, answer: str = "") -> Script:
        """Send a re-INVITE, which is answered; ``answer`` is for one without an offer."""
        return self.invites(body=body, to_tag=True).gets(100, optional=True).gets(200).acks(body=answer)

    def is_cancelled(self) -> Script:
        """Get a CANCEL and answer it; the INVITE's 487 is another step."""
        return self.gets("CANCEL", seconds=60).says(200, tag=self._tag)

    def refuses(self, status: int) -> Script:
        """Answer the kept INVITE with no, and be acknowledged."""
        return self.says(status, "invite", tag=self._tag).gets("ACK")

    def is_hung_up(self) -> Script:
        """Get a BYE and answer it."""
        return self.gets("BYE", seconds=60).says(200)

    def notifies(self, status: int) -> Script:
        """Tell how far the REFER that we got has led (RFC 3515 2.4.4); a final status ends the subscription."""
        state = "active;expires=60" if status < 200 else "terminated;reason=noresource"
        told = ("Event: refer", f"Subscription-State: {state}")
        return self.asks("NOTIFY", more=told, body=f"SIP/2.0 {status} Status {status}").gets(200)

    def is_notified(self) -> Script:
        """Get a NOTIFY and answer it."""
        return self.gets("NOTIFY").says(200)

    def hangs_up(self) -> Script:
        """Send a BYE, which is answered."""
        return self.asks("BYE").gets(200)
