"""The timers of SIP and their values (RFC 3261 table 4, RFC 6026).

Owns: numbers, all in seconds. Must not know who sets which timer.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Timers:
    """The three basic times, from which all others follow.

    ``t1`` is the round-trip estimate, ``t2`` the longest interval between retransmissions of what isn't an INVITE or
    is its response, ``t4`` how long a message may stay in the network.
    """

    t1: float = attrs.field(default=0.5, validator=attrs.validators.gt(0))
    t2: float = attrs.field(default=4.0, validator=attrs.validators.gt(0))
    t4: float = attrs.field(default=5.0, validator=attrs.validators.gt(0))

    @property
    def lifetime(self) -> float:
        """64*T1: how long a transaction, an unacknowledged 2xx or anything else of one exchange may go on."""
        return 64 * self.t1

    @property
    def timer_a(self) -> float:
        """First interval between INVITEs, over UDP only; doubles each time."""
        return self.t1

    @property
    def timer_b(self) -> float:
        """An INVITE without any response has failed."""
        return 64 * self.t1

    @property
    def timer_c(self) -> float:
        """A proxy's bound on an INVITE that is ringing (more than 3 minutes)."""
        return 181.0

    @property
    def timer_d(self) -> float:
        """How long retransmissions of a final response >= 300 are acknowledged; UDP only, at least 32 s."""
        return max(32.0, 64 * self.t1)

    @property
    def timer_e(self) -> float:
        """First interval between requests other than INVITE, over UDP only; doubles up to T2."""
        return self.t1

    @property
    def timer_f(self) -> float:
        """A request other than INVITE without a final response has failed."""
        return 64 * self.t1

    @property
    def timer_g(self) -> float:
        """First interval between final responses >= 300 to an INVITE, over UDP only; doubles up to T2."""
        return self.t1

    @property
    def timer_h(self) -> float:
        """How long an ACK is waited for."""
        return 64 * self.t1

    @property
    def timer_i(self) -> float:
        """How long retransmitted ACKs are absorbed; UDP only."""
        return self.t4

    @property
    def timer_j(self) -> float:
        """How long retransmitted requests other than INVITE are answered again; UDP only."""
        return 64 * self.t1

    @property
    def timer_k(self) -> float:
        """How long retransmitted responses are absorbed; UDP only."""
        return self.t4

    @property
    def timer_l(self) -> float:
        """How long an INVITE that was accepted is remembered at its server (RFC 6026 7.1)."""
        return 64 * self.t1

    @property
    def timer_m(self) -> float:
        """How long further 2xx to an INVITE are passed on at its client (RFC 6026 7.2)."""
        return 64 * self.t1
