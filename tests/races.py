"""The table of races of ``transfer.md``, R1 to R38, as scenarios: arrange, act, the row's outcome, what the wire saw.

Owns: what each row means, as short as it can be said. Must not know networks: `tests.test_races` plays each scenario
with three seeds of trouble, and ``tests/call`` has the detailed tests. Each scenario's outcome is the state of A, the
state of B and the transfer's cause. ``s.orderly`` takes loss and reordering from the ways on which an order of events,
or an early message that nobody repeats, is what the row is about.

A row whose signalling has not been built yet is marked: ``unbuilt`` says what is missing, ``fails_with`` what it fails
of until then. A marked row that passes, or that fails of something else, is a failure: whoever builds it takes the mark
off.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from telephony.call.constants import Cause, State, TransferCause
from telephony.errors import Error, Hangup
from telephony.interfaces import Srv
from telephony.sip.message import Message, Request, Response
from telephony.testing.case import SERVER
from telephony.testing.phone_timer import TimerWish
from telephony.testing.sounds import tone
from tests.call.media_scene import Speaker, packets_of
from tests.race_scene import RINGBACK, SAYS, Race, Row

IDLE, ANSWERED, TRANSFERRING, TRANSFERRED = State.IDLE, State.ANSWERED, State.TRANSFERRING, State.TRANSFERRED
NORMAL, HANGUP, TIMEOUT, FAIL = TransferCause.NORMAL, TransferCause.HANGUP, TransferCause.TIMEOUT, TransferCause.FAIL
TARGETREJECT, TARGETHANGUP, NONE = TransferCause.TARGETREJECT, TransferCause.TARGETHANGUP, TransferCause.NONE
ALICE, BOB = SAYS["alice"], SAYS["bob"]
#: What a stranger says, whom nobody may hear.
EVIL = 1900

ROWS: list[Row] = []
Play = Callable[[Race], Coroutine[Any, Any, None]]


def race(number: str, *, unbuilt: str = "", fails_with: str = "", anchored: str = "") -> Callable[[Play], Play]:
    """Enter a scenario into the table; ``anchored`` says why it is played with anchored media only."""

    def entered(play: Play) -> Play:
        ROWS.append(Row(number, play, unbuilt, fails_with, anchored))
        return play

    return entered


# -- B has not answered ------------------------------------------------------------------------------------------


@race("R1")
async def caller_hangs_up_before_any_1xx(s: Race) -> None:
    """The CANCEL is held until a 1xx has come; the application need not wait for it."""
    s.bob.quirks.slow = 3.0
    await s.answered()
    s.begin(s.bob.uri)
    await s.passes(0.5)
    s.alice.hang_up()
    await s.ends(IDLE, within=3)
    await s.outcome(IDLE, IDLE, HANGUP)
    s.assertEqual(s.sent_to(s.bob, "CANCEL"), [], "not before a 1xx")
    await s.saw(s.bob, within=20, INVITE=1, CANCEL=1, ACK=1, BYE=0)


@race("R1")
async def caller_hangs_up_and_nobody_is_there(s: Race) -> None:
    """Without any response timer B ends the INVITE, and nothing else is ever sent."""
    s.bob.quirks.deaf = True
    await s.answered()
    s.begin(s.bob.uri)
    await s.passes(0.5)
    s.alice.hang_up()
    await s.ends(IDLE, within=3)
    await s.outcome(IDLE, IDLE, HANGUP)
    await s.passes(40)
    await s.saw(s.bob, INVITE=1, CANCEL=0, ACK=0, BYE=0)


@race("R2")
async def cancel_crosses_200(s: Race) -> None:
    """A 200 that crosses our CANCEL gets its ACK, each time it is repeated, and then a BYE."""
    s.bob.quirks.answer_on_cancel = True
    s.bob.quirks.extra_200 = 2
    await s.transferring()
    s.orderly(s.bob)
    s.alice.hang_up()
    await s.ends(IDLE)
    await s.outcome(IDLE, IDLE, HANGUP)
    await s.saw(s.bob, CANCEL=1, ACK=1, BYE=1)
    s.assertEqual(s.bob.unacknowledged, 0)
    s.assertGreaterEqual(len(s.times(s.bob, "ACK")), 3)


@race("R2")
async def cancel_at_the_limit_crosses_200(s: Race) -> None:
    """The same where the ring time was over: TIMEOUT, and A is the application's."""
    s.bob.quirks.answer_on_cancel = True
    await s.transferring(limit=4)
    await s.ends(ANSWERED)
    await s.outcome(ANSWERED, IDLE, TIMEOUT)
    await s.saw(s.bob, CANCEL=1, ACK=1, BYE=1)
    await s.saw(s.alice, BYE=0)
    await s.deaf(s.alice, BOB)


@race("R3")
async def ring_timeout(s: Race) -> None:
    """CANCEL with a Reason; the verb returns at its limit, though the 487 takes its time."""
    s.bob.quirks.slow = 1.5
    await s.transferring(limit=8)
    await s.ends(ANSWERED)
    s.assertLess(s.now() - s.began, 8 + 1)
    s.assertEqual(s.bob.sent(487), [], "nobody has waited for it")
    await s.outcome(ANSWERED, IDLE, TIMEOUT)
    await s.saw(s.bob, CANCEL=1, ACK=1, BYE=0)
    s.assertEqual(s.sent_to(s.bob, "CANCEL")[0].get("Reason"), 'SIP;cause=408;text="Request Timeout"')
    await s.saw(s.alice, BYE=0)


@race("R4")
async def target_refuses(s: Race) -> None:
    """The target's word is TARGETREJECT, what says more about the path FAIL; each final gets its ACK."""
    await s.answered()
    for status in (486, 600, 603, 480, 404, 408, 401, 407, 482, 483, 500, 503):
        await s.transferring(rings=False)
        s.bob.reject(status)
        await s.ends(ANSWERED)
        cause = FAIL if status in (401, 407, 482, 483) or 500 <= status < 600 else TARGETREJECT
        await s.outcome(ANSWERED, IDLE, cause)
        s.assertEqual(s.b.Details.raw_cause, status)
    await s.saw(s.bob, INVITE=12, ACK=12, CANCEL=0, BYE=0)
    await s.saw(s.alice, BYE=0)


@race("R4")
async def a_6xx_ends_hunting(s: Race) -> None:
    """RFC 3261 16.7: of two that a redirection names the first one says 603, so that nobody asks the second."""
    await s.transferring(rings=False)
    second = s.carol.uri.replace("carol", "second")
    s.bob.reject(302, [("Contact", f"<{s.carol.uri}>, <{second}>")])
    await s.comes(lambda: s.carol.calls, "carol's call")
    s.carol.reject(603)
    await s.ends(ANSWERED)
    await s.outcome(ANSWERED, IDLE, TARGETREJECT)
    await s.saw(s.carol, INVITE=1, ACK=1, BYE=0)


@race("R5")
async def silence(s: Race) -> None:
    """No response at all is FAIL, by timer B."""
    s.bob.quirks.deaf = True
    await s.answered()
    s.begin(s.bob.uri, 120)
    await s.ends(ANSWERED, within=33)
    await s.outcome(ANSWERED, IDLE, FAIL)
    await s.saw(s.bob, INVITE=1, CANCEL=0, ACK=0, BYE=0)


@race("R5")
async def silence_and_a_limit(s: Race) -> None:
    """TIMEOUT when the application's own time ran out first."""
    s.bob.quirks.deaf = True
    await s.answered()
    s.begin(s.bob.uri, 4)
    await s.ends(ANSWERED, within=5)
    await s.outcome(ANSWERED, IDLE, TIMEOUT)


@race("R5")
async def refused_connection(s: Race) -> None:
    """Nobody listens there: FAIL, long before any timer of SIP's."""
    await s.answered()
    s.begin("sip:nobody@10.0.1.2:5999;transport=tcp")
    await s.ends(ANSWERED)
    await s.outcome(ANSWERED, IDLE, FAIL)


@race("R5")
async def no_such_name(s: Race) -> None:
    """No DNS answer: FAIL."""
    await s.answered()
    s.begin("sip:nobody@nowhere.example")
    await s.ends(ANSWERED)
    await s.outcome(ANSWERED, IDLE, FAIL)


@race("R5")
async def next_target(s: Race) -> None:
    """Where a name's first address refuses, the next one gets the call."""
    s.network.names["phones.example"] = ["10.0.1.99", s.bob.address[0]]
    s.bob.auto_answer = 0.5
    await s.answered()
    s.begin("sip:bob@phones.example:5060;transport=tcp")
    await s.ends(TRANSFERRED, within=40)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)


@race("R5")
async def next_target_after_silence(s: Race) -> None:
    """The first of a name's servers never answers: timer B, then the second one has the call."""
    s.carol.quirks.deaf = True
    s.bob.auto_answer = 0.5
    two_servers(s)
    await s.answered()
    s.begin("sip:bob@phones.example", 120)
    await s.ends(TRANSFERRED, within=40)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.saw(s.carol, INVITE=1, CANCEL=0, ACK=0, BYE=0)
    await s.saw(s.bob, INVITE=1, ACK=1, BYE=0)


@race("R5")
async def next_target_after_503(s: Race) -> None:
    """The first of a name's servers is full: the second one has the call; a CANCEL would go there, and a BYE does."""
    s.bob.auto_answer = 0.5
    two_servers(s)
    await s.answered()
    s.begin("sip:bob@phones.example")
    await s.comes(lambda: s.carol.calls, "carol's call")
    s.carol.reject(503, [("Retry-After", "60")])
    await s.ends(TRANSFERRED)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.saw(s.carol, INVITE=1, ACK=1, BYE=0)
    s.assertIs(await s.b.hang_up(), IDLE)
    await s.saw(s.bob, INVITE=1, ACK=1, BYE=1)


@race("R5")
async def no_target_takes_it(s: Race) -> None:
    """Every server of a name says 503: FAIL. A limit that is over before that: TIMEOUT (rule 7)."""
    two_servers(s)
    await s.answered()
    s.begin("sip:bob@phones.example")
    for phone in (s.carol, s.bob):
        await s.comes(lambda phone=phone: phone.calls, "the call")  # type: ignore[misc]
        phone.reject(503)
    await s.ends(ANSWERED)
    await s.outcome(ANSWERED, IDLE, FAIL)
    s.carol.quirks.deaf = s.bob.quirks.deaf = True
    s.begin("sip:bob@phones.example", 40)
    await s.ends(ANSWERED, within=41)
    await s.outcome(ANSWERED, IDLE, TIMEOUT)


@race("R5")
async def a_silent_dns_and_a_limit(s: Race) -> None:
    """Rule 7: the verb's limit covers the look-up, and nothing is sent after it."""
    s.network.dns("phones.example", "NAPTR", delay=20)
    two_servers(s)
    await s.answered()
    s.begin("sip:bob@phones.example", 5)
    await s.ends(ANSWERED, within=6)
    await s.outcome(ANSWERED, IDLE, TIMEOUT)
    await s.passes(30)
    await s.saw(s.carol, INVITE=0)
    await s.saw(s.bob, INVITE=0)


def two_servers(s: Race) -> None:
    """Let ``phones.example`` be carol's phone, and bob's when hers is of no use (RFC 2782)."""
    records = []
    for priority, phone in enumerate((s.carol, s.bob)):
        s.network.names[f"{phone.name}.phones.example"] = [phone.address[0]]
        records.append(Srv(priority, 1, phone.address[1], f"{phone.name}.phones.example"))
    s.network.dns("_sip._udp.phones.example", "SRV", *records)


@race("R6")
async def redirect(s: Race) -> None:
    """A 302's contact is called, once."""
    s.carol.auto_answer = 0.5
    await s.transferring(rings=False)
    s.bob.reject(302, [("Contact", f"<{s.carol.uri}>")])
    await s.ends(TRANSFERRED)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.saw(s.bob, INVITE=1, ACK=1)
    await s.saw(s.carol, INVITE=1, ACK=1, BYE=0)


@race("R6")
async def redirect_in_a_circle(s: Race) -> None:
    """Each contact once: two phones that send the call to each other end it, and the 302 is the outcome."""
    await s.transferring(rings=False)
    s.bob.reject(302, [("Contact", f"<{s.carol.uri}>")])
    await s.comes(lambda: s.carol.calls, "carol's call")
    s.carol.reject(302, [("Contact", f"<{s.bob.uri}>, <{s.carol.uri}>")])
    await s.ends(ANSWERED)
    await s.outcome(ANSWERED, IDLE, FAIL)
    s.assertEqual(s.b.Details.raw_cause, 302)
    for phone in (s.bob, s.carol):
        await s.saw(phone, INVITE=1, ACK=1, BYE=0)


@race("R6")
async def redirect_where_the_service_may_not_dial(s: Race) -> None:
    """Else R4: a contact that the service may not call is not called."""
    s.exchange.may_dial = lambda _channel, target: target.host != s.carol.address[0]
    await s.transferring(rings=False)
    s.bob.reject(302, [("Contact", f"<{s.carol.uri}>")])
    await s.ends(ANSWERED)
    await s.outcome(ANSWERED, IDLE, FAIL)
    await s.saw(s.carol, INVITE=0)


@race("R7a")
async def targets_bye_before_its_200(s: Race) -> None:
    """200 to the BYE, ACK to the 2xx, no BYE of ours."""
    s.orderly(s.bob)
    s.bob.quirks.bye_before_200 = True
    await s.transferring()
    s.bob.answer()
    await s.ends(ANSWERED)
    await s.outcome(ANSWERED, IDLE, TARGETHANGUP)
    await s.saw(s.bob, ACK=1, BYE=0)
    s.assertEqual(s.bob.unacknowledged, 0)


@race("R7b")
async def targets_bye_behind_its_200(s: Race) -> None:
    """The verb returns TRANSFERRED, the state when it ended; the call comes back by itself."""
    s.orderly(s.bob)
    s.bob.quirks.bye_behind_200 = True
    await s.transferring()
    s.bob.answer()
    await s.ends(TRANSFERRED)
    await s.outcome(ANSWERED, IDLE, NORMAL)
    await s.saw(s.bob, ACK=1, BYE=0)


# -- A goes, or both at once -------------------------------------------------------------------------------------


@race("R8")
async def callers_bye_just_before_the_200(s: Race) -> None:
    """A's BYE is processed first: the 200 is acknowledged and ended; one BYE per dialog, no audio path left."""
    s.orderly(s.alice, delay=0.02)
    s.orderly(s.bob, delay=0.021)
    await s.transferring()
    s.alice.hang_up()
    s.bob.answer()
    await s.ends(IDLE)
    await s.outcome(IDLE, IDLE, HANGUP)
    await s.saw(s.bob, ACK=1, BYE=1)
    await s.saw(s.alice, BYE=0)
    await s.quiet(s.alice, s.bob)


@race("R8")
async def callers_bye_just_behind_the_200(s: Race) -> None:
    """B's 200 is processed first: the transfer has come about, and then both end."""
    s.orderly(s.bob, delay=0.02)
    s.orderly(s.alice, delay=0.021)
    await s.transferring()
    s.alice.hang_up()
    s.bob.answer()
    await s.ends(TRANSFERRED)
    await s.outcome(IDLE, IDLE, NORMAL)
    await s.saw(s.bob, ACK=1, BYE=1)
    await s.saw(s.alice, BYE=0)
    await s.quiet(s.alice, s.bob)


@race("R9")
async def bye_glare(s: Race) -> None:
    """200 to theirs, from both sides of the transfer."""
    await s.transferred()
    s.orderly(s.alice, s.bob)
    s.a.hang_up()
    s.alice.hang_up()
    s.bob.hang_up()
    await s.outcome(IDLE, IDLE, NORMAL)
    for phone in (s.alice, s.bob):
        await s.saw(phone, BYE=1)
        s.assertEqual({one.status for one in s.got_all(phone) if one.cseq.method == "BYE"}, {200})


@race("R9")
async def bye_glare_and_a_481(s: Race) -> None:
    """A 481 to ours is success: the dialog is gone, which is what was wanted; nothing is sent again."""

    def gone(message: Message) -> Message:
        if isinstance(message, Response) and message.cseq.method == "BYE":
            message.status, message.reason = 481, "Call/Transaction Does Not Exist"
        return message

    await s.transferred()
    s.orderly(s.alice, s.bob)
    for phone in (s.alice, s.bob):
        phone.quirks.alter = gone
        phone.hang_up()
    s.assertIs(await s.a.hang_up(), IDLE)
    await s.outcome(IDLE, IDLE, NORMAL)
    for phone in (s.alice, s.bob):
        await s.saw(phone, BYE=1)
        s.assertEqual({one.status for one in s.got_all(phone) if one.cseq.method == "BYE"}, {200})


# -- two requests at once ----------------------------------------------------------------------------------------


def without_update(message: Message) -> Message:
    """Say nothing of UPDATE: whoever refreshes this phone's session does it by re-INVITE."""
    if message.has("Allow"):
        message.set("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO")
    return message


@race("R10")
async def reinvite_glare(s: Race) -> None:
    """491 to theirs; on their 491 ours waits its turn; nothing changes for anybody."""
    s.orderly(s.alice, delay=0.05)
    s.alice.quirks.alter = without_update
    sent: list[bytes] = []
    await s.answered(headers=[("Supported", "timer"), ("Session-Expires", "90;refresher=uas")])
    await s.transferring()
    s.bob.answer()
    await s.ends(TRANSFERRED)
    s.network.watchers.append(
        lambda event: (
            sent.append(event.data)
            if event.data.startswith(b"INVITE") and event.destination == s.alice.address
            else None
        )
    )
    await s.comes(lambda: sent, "our re-INVITE", within=60)
    s.assertEqual(await s.alice.call.reinvite(), 200, "after a 491 and the time of RFC 3261 14.1")
    await s.saw(s.alice, _491=1)
    if s.anchored:
        await s.saw(s.alice, INVITE=2)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.talk()


@race("R10")
async def our_hold_meets_a_491(s: Race) -> None:
    """The owner of the Call-ID waits 2.1 to 4.0 s, the other one 0 to 2.0 s; the hold comes about all the same."""
    await s.answered()
    outgoing = s.exchange.channel()
    calling = outgoing.call(s.bob.uri)
    await s.comes(lambda: s.bob.calls, "bob's call")
    s.bob.answer()
    s.assertIs(await calling, ANSWERED)
    for channel, phone, least, most in ((s.a, s.alice, 0, 2.0), (outgoing, s.bob, 2.1, 4.0)):
        s.orderly(phone)
        phone.quirks.glare = 1
        began = s.now()
        s.assertIs(await channel.hold(), State.ON_HOLD)
        s.assertTrue(least <= s.now() - began <= most + 0.5, f"{phone.name}: {s.now() - began:.2f} s")
        s.assertIs(await channel.resume(), ANSWERED)
        await s.saw(phone, BYE=0, INVITE=3 if phone is s.alice else 4)
    outgoing.hang_up()


@race("R10")
async def ours_waits_its_turn_whatever_comes_meanwhile(s: Race) -> None:
    """Rule 4: one at a time. A re-INVITE of theirs that is over doesn't shorten the wait after a 491."""
    await s.answered()
    outgoing = s.exchange.channel()
    calling = outgoing.call(s.bob.uri)
    await s.comes(lambda: s.bob.calls, "bob's call")
    s.bob.answer()
    s.assertIs(await calling, ANSWERED)
    await s.comes(lambda: s.bob.call.answered, "the ACK of bob's 200")
    s.orderly(s.bob)
    s.bob.quirks.glare = 1
    began = s.now()
    hold = outgoing.hold()
    await s.comes(lambda: s.bob.sent(491), "a 491")
    s.assertEqual(await s.bob.call.reinvite(), 200)
    s.assertIs(await hold, State.ON_HOLD)
    s.assertGreaterEqual(s.now() - began, 2.1)
    await s.saw(s.bob, INVITE=3)
    outgoing.hang_up()


@race("R10")
async def bye_ends_the_wait(s: Race) -> None:
    """A BYE while ours waits its turn: nothing more is sent."""
    await s.answered()
    s.orderly(s.alice)
    s.alice.quirks.glare = 9
    hold = s.a.hold()
    await s.comes(lambda: s.alice.sent(491), "a 491")
    s.alice.hang_up()
    s.assertIs(await hold, IDLE)
    count = len(s.sent_to(s.alice, "INVITE"))
    await s.passes(5)
    await s.saw(s.alice, INVITE=count, BYE=0)


@race("R11")
async def lower_cseq(s: Race) -> None:
    """A request that is behind its dialog's last one is 500 and changes nothing."""
    await s.transferred()
    number = s.alice.call.invite.cseq.number
    response = await s.request(s.alice, "INVITE", cseq=number - 1, body=s.alice.call.invite.body)
    assert response is not None
    s.assertEqual(response.status, 500)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.talk()


@race("R11")
async def second_invite_while_the_first_is_pending(s: Race) -> None:
    """500 with a Retry-After of 0 to 10 s; the first one is answered all the same."""
    s.orderly(s.alice)
    await s.calls_in()
    s.a.ring()
    await s.comes(lambda: s.alice.call.rang, "our 180")
    response = await s.request(s.alice, "INVITE", body=s.alice.call.invite.body)
    assert response is not None
    s.assertEqual(response.status, 500)
    s.assertIn(int(response.get("Retry-After") or -1), range(11))
    s.assertIs(await s.a.answer(), ANSWERED)
    await s.saw(s.alice, _200=1, BYE=0)


@race("R11")
async def update_while_the_invite_is_pending(s: Race) -> None:
    """RFC 3311 5.2: an UPDATE with an offer before the INVITE's answer is 500 with Retry-After."""
    s.orderly(s.alice)
    await s.calls_in()
    s.a.ring()
    await s.comes(lambda: s.alice.call.rang, "our 180")
    response = await s.request(
        s.alice, "UPDATE", ("Contact", f"<{s.alice.contact('UDP')}>"), body=s.alice.call.invite.body
    )
    assert response is not None
    s.assertEqual(response.status, 500)
    s.assertIs(await s.a.answer(), ANSWERED)


@race("R11")
async def update_while_our_offer_is_pending(s: Race) -> None:
    """RFC 3311 5.2: an UPDATE with an offer while our hold waits for its answer is 491; without one it is 200."""
    await s.answered()
    s.orderly(s.alice)
    s.alice.quirks.slow = 0.5
    hold = s.a.hold()
    answer = s.request(s.alice, "UPDATE", body=s.alice.call.invite.body)
    refresh = s.request(s.alice, "UPDATE")
    one, other = await answer, await refresh
    assert one is not None and other is not None
    s.assertEqual([one.status, other.status], [491, 200])
    s.assertIs(await hold, State.ON_HOLD)


@race("R12")
async def our_reinvite_crosses_bye(s: Race) -> None:
    """Our re-INVITE meets a dialog that is gone: its 481 is acknowledged, and nobody minds."""
    await s.answered()
    s.orderly(s.alice)
    hold = s.a.hold()
    s.alice.hang_up()
    s.assertIs(await hold, IDLE)
    await s.saw(s.alice, INVITE=1, ACK=1, BYE=0)


@race("R12")
async def reinvite_crosses_our_bye(s: Race) -> None:
    """The dialog is gone: 481 to the INVITE, whose ACK is absorbed."""
    await s.transferred()
    s.orderly(s.alice, s.bob)
    hold = s.alice.hold()
    s.a.hang_up()
    s.assertEqual(await hold, 481)
    await s.outcome(IDLE, IDLE, NORMAL)
    await s.saw(s.alice, BYE=1, _481=1)
    await s.saw(s.bob, BYE=1)


@race("R12")
async def bye_while_their_invite_is_pending(s: Race) -> None:
    """A caller that ends its early dialog by BYE: 200 to it, 487 to the INVITE."""
    s.orderly(s.alice)
    await s.calls_in()
    s.a.ring()
    await s.comes(lambda: s.alice.call.rang, "our 180")
    response = await s.request(s.alice, "BYE")
    assert response is not None
    s.assertEqual(response.status, 200)
    await s.saw(s.alice, _487=1, _200=0)
    s.assertIs(s.a.state(), IDLE)


@race("R13")
async def retrieval_behind_the_targets_bye(s: Race) -> None:
    """The call is back already: ANSWERED, no error."""
    await s.transferred()
    s.bob.hang_up()
    await s.outcome(ANSWERED, IDLE, NORMAL)
    s.assertIs(await s.a.retrieve_transferred_call(), ANSWERED)
    await s.outcome(ANSWERED, IDLE, NORMAL)
    await s.saw(s.bob, BYE=0)
    await s.saw(s.alice, BYE=0, INVITE=0)


@race("R13")
async def retrieval_before_the_targets_bye(s: Race) -> None:
    """B is an ordinary channel from then on, and goes IDLE when its BYE comes."""
    await s.transferred()
    verb = s.a.retrieve_transferred_call()
    s.bob.hang_up()
    s.assertIs(await verb, ANSWERED)
    s.assertIs(s.a.state(), ANSWERED)
    await s.outcome(ANSWERED, IDLE, NORMAL)
    await s.saw(s.bob, BYE=0)
    await s.deaf(s.alice, BOB)


@race("R14")
async def retrieval_behind_the_callers_bye(s: Race) -> None:
    """A's BYE was processed before the verb: Hangup; a verb that waits returns IDLE."""
    await s.transferred()
    s.alice.hang_up()
    await s.outcome(IDLE, IDLE, NORMAL)
    with s.assertRaises(Hangup):
        await s.a.retrieve_transferred_call()
    s.assertIs(await s.a.wait_for_transferred_call_retrieval(), IDLE)


@race("R14")
async def callers_bye_while_reconnecting(s: Race) -> None:
    """During RECONNECTING the verb returns IDLE."""
    await s.transferred()
    s.orderly(s.alice, delay=0.02)
    await s.passes(0.2)
    s.alice.hang_up()
    await s.passes(0.02 - 1e-4)
    verb = s.a.retrieve_transferred_call()
    s.assertIs(s.a.state(), State.RECONNECTING)
    s.assertIs(await verb, IDLE)
    s.assertIs(s.a.state(), IDLE)
    await s.saw(s.alice, BYE=0)


@race("R14")
async def callers_bye_behind_the_retrieval(s: Race) -> None:
    """Later: ANSWERED, then IDLE."""
    await s.transferred()
    s.assertIs(await s.a.retrieve_transferred_call(), ANSWERED)
    s.alice.hang_up()
    await s.outcome(IDLE, ANSWERED, NORMAL)
    await s.saw(s.alice, BYE=0)


@race("R15")
async def two_verbs_at_once(s: Race) -> None:
    """The second verb raises Error, as does any on B but hang_up and the readers; the transfer is not disturbed."""
    await s.transferring()
    with s.assertRaises(Error):
        await s.a.retrievable_transfer(s.exchange.channel(), s.carol.uri)
    with s.assertRaises(Error):
        await s.b.call(s.carol.uri)
    s.assertIs(s.a.state(), TRANSFERRING)
    s.bob.answer()
    await s.ends(TRANSFERRED)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    for verb in (s.b.hold, s.b.reject):
        with s.assertRaises(Error):
            await verb()  # it is A's for as long as A is transferred
    await s.saw(s.carol, INVITE=0)
    await s.saw(s.bob, INVITE=1)


# -- forks, early media, answers ---------------------------------------------------------------------------------


@race("R16")
async def forked_200s(s: Race) -> None:
    """The first 200 wins; the other one: ACK, BYE."""
    s.orderly(s.bob)
    await s.transferring(rings=False)
    for tag in ("fork-one", "fork-two"):
        s.bob.call.ring(tag=tag)
    await s.passes(0.2)
    for tag in ("fork-one", "fork-two"):
        s.bob.call.answer(tag=tag)
    await s.ends(TRANSFERRED)
    await s.saw(s.bob, ACK=2, BYE=1)
    s.assertEqual(dict(s.bob.call.byes), {"fork-two": 1})
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)


@race("R17", anchored="who sends here in the winner's place is no phone, and can't be sent elsewhere")
async def media_follows_the_winning_fork(s: Race) -> None:
    """183 from fork 1, 200 from fork 2: the loser's RTP is dropped."""
    s.orderly(s.bob)
    winner = Speaker(s.network.host("10.0.9.1"), tone(1500))
    host, port = winner.address

    def elsewhere(message: Message) -> Message:
        if isinstance(message, Response) and message.status == 200 and message.cseq.method == "INVITE":
            own = f"m=audio {s.bob.call.media.audio.ports[0]}"
            body = message.body.decode().replace(f"c=IN IP4 {s.bob.address[0]}", f"c=IN IP4 {host}")
            message.body = body.replace(own, f"m=audio {port}").encode()
        return message

    s.bob.quirks.alter = elsewhere
    await s.transferring(rings=False)
    s.bob.call.ring(183, sdp=True, tag="fork-one")
    await s.passes(0.3)
    await s.hears(s.alice, BOB)
    s.bob.answer(tag="fork-two")
    await s.ends(TRANSFERRED)
    winner.start(s.rtp_of(s.b))
    await s.deaf(s.alice, BOB)
    await s.hears(s.alice, 1500)
    winner.close()
    s.assertEqual(packets_of(s.bob), [])


@race("R17")
async def prack_per_early_dialog(s: Race) -> None:
    """Each fork's reliable 183 gets a PRACK of its own."""
    s.orderly(s.bob)
    await s.transferring(rings=False)
    for tag in ("fork-one", "fork-two"):
        s.bob.call.ring(183, sdp=True, tag=tag, headers=[("Require", "100rel"), ("RSeq", "1")])
    await s.saw(s.bob, PRACK=2)


@race("R18")
async def ringing_behind_early_media(s: Race) -> None:
    """183 with SDP, then 180 without: early media goes on, no tone over it."""
    s.orderly(s.bob)
    await s.transferring(rings=False)
    s.bob.ring(183, sdp=True)
    await s.passes(0.3)
    since = s.now()
    s.bob.ring(180)
    await s.hears(s.alice, BOB)
    s.assertEqual(s.alice.heard(*RINGBACK, since=since), [])
    await s.outcome(TRANSFERRING, State.RING_OUTGOING, NONE)
    s.bob.reject(486)
    await s.ends(ANSWERED)


@race("R19")
async def another_answer_behind_an_unreliable_183(s: Race) -> None:
    """The 183 was only a preview: the 200's description is the answer."""
    s.orderly(s.bob)

    def another_codec(message: Message) -> Message:
        if isinstance(message, Response) and message.status == 200 and message.cseq.method == "INVITE":
            message.body = message.body.replace(b"RTP/AVP 8 0 101", b"RTP/AVP 0 101")
        return message

    s.bob.quirks.alter = another_codec
    await s.transferring(rings=False)
    s.bob.ring(183, sdp=True)
    await s.passes(0.5)
    s.bob.call.media.audio.rebind()
    s.bob.answer()
    await s.ends(TRANSFERRED)
    since = s.now() + 0.3
    await s.passes(0.3)
    await s.talk()
    s.assertEqual({one.payload_type for one in packets_of(s.bob, since)}, {0})


@race("R19")
async def another_answer_behind_a_reliable_183(s: Race) -> None:
    """The reliable answer stands, whatever the 200 says."""
    s.orderly(s.bob)
    await s.transferring(rings=False)
    s.bob.ring(183, sdp=True, headers=[("Require", "100rel"), ("RSeq", "1")])
    await s.saw(s.bob, PRACK=1)
    s.bob.quirks.answers_again = s.bob.quirks.port_zero = True
    s.bob.answer()
    await s.ends(TRANSFERRED)
    s.bob.quirks.port_zero = False
    await s.talk()


@race("R20")
async def unusable_answers(s: Race) -> None:
    """A 200 without SDP, with garbage, with port 0: ACK, BYE, FAIL."""
    await s.answered()
    quirks = s.bob.quirks
    for number, (name, value) in enumerate(
        {"no_sdp_in_200": True, "sdp": b"this is no description\r\n", "port_zero": True}.items(), 1
    ):
        usual = getattr(quirks, name)
        setattr(quirks, name, value)
        await s.transferring(rings=False)
        s.bob.answer()
        await s.ends(ANSWERED)
        await s.outcome(ANSWERED, IDLE, FAIL)
        await s.saw(s.bob, ACK=number, BYE=number, CANCEL=0)
        setattr(quirks, name, usual)
    await s.saw(s.alice, BYE=0)


@race("R20")
async def answer_in_the_183(s: Race) -> None:
    """A 200 without SDP behind a 183 with one, on the same To-tag, is accepted."""
    s.orderly(s.bob)
    s.bob.quirks.no_sdp_in_200 = True
    await s.transferring(rings=False)
    s.bob.ring(183, sdp=True)
    await s.passes(0.3)
    s.bob.answer()
    await s.ends(TRANSFERRED)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.talk()


@race("R21")
async def late_ringing_behind_the_200(s: Race) -> None:
    """Ignored; the tone never restarts."""
    await s.transferred()
    s.orderly(s.bob)
    since = s.now()
    for status in (180, 183):
        s.provisional_again(status)
    await s.passes(0.5)
    await s.talk()
    s.assertEqual(s.alice.heard(*RINGBACK, since=since), [])
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)


@race("R21")
async def late_ringing_behind_the_cancel(s: Race) -> None:
    """The same for a phone that rings on though it has been cancelled."""
    s.bob.quirks.ignore_cancel = True
    await s.transferring()
    await s.b.hang_up()
    await s.ends(ANSWERED)
    s.orderly(s.bob)
    await s.passes(0.2)
    since = s.now()
    s.bob.ring(180)
    await s.passes(2)
    s.assertEqual(s.alice.heard(*RINGBACK, since=since), [])
    await s.outcome(ANSWERED, IDLE, FAIL)
    s.bob.reject(487)


# -- two that talk -----------------------------------------------------------------------------------------------


@race("R22")
async def rtp_before_the_200(s: Race) -> None:
    """Before any description of B's came nobody knows whose it is: dropped."""
    s.orderly(s.bob)
    await s.transferring()
    early = Speaker(s.network.host(s.bob.address[0]), tone(BOB))
    early.start(s.rtp_of(s.b))
    await s.deaf(s.alice, BOB)
    early.close()
    s.bob.answer()
    await s.ends(TRANSFERRED)
    await s.passes(0.3)
    await s.talk()


@race("R22")
async def strangers_rtp(s: Race) -> None:
    """A stranger is not heard, with an SSRC of its own or with the call's, and gets nothing."""
    await s.transferred()
    await s.passes(1)
    mouth = s.bob.call.media.audio.mouth
    here = s.network.host("10.6.6.6")
    strangers = [
        Speaker(here, tone(EVIL)),
        Speaker(here, tone(EVIL), ssrc=mouth.ssrc, sequence=mouth.sequence + 1),
    ]
    for one in strangers:
        one.start(s.rtp_of(s.b))
    await s.deaf(s.alice, EVIL)
    await s.talk()
    for one in strangers:
        one.close()
        s.assertEqual(one.heard, [])


@race("R22", anchored="a NAT that comes up later is nobody's to follow where media are direct")
async def rebinding_and_new_ssrc(s: Race) -> None:
    """A NAT that rebinds is followed after 500 ms of silence of the old source; a new SSRC from it at once."""
    await s.transferred()
    await s.passes(1)
    s.bob.call.rebind_media()
    await s.passes(1)
    await s.talk()
    s.bob.quirks.new_ssrc_every = 0.5
    await s.passes(1)
    await s.talk()
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)


@race("R23")
async def we_refresh_the_session(s: Race) -> None:
    """B's leg asks us to refresh: UPDATE or re-INVITE at half its time, with an unchanged description."""
    await s.transferring()
    s.bob.call.answer(headers=[("Require", "timer"), ("Session-Expires", "90;refresher=uac")])
    await s.ends(TRANSFERRED)
    await s.comes(lambda: len(s.sent_to(s.bob, "INVITE")) > 1 or s.sent_to(s.bob, "UPDATE"), "our refresh", within=60)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.talk()


@race("R23")
async def we_refresh_by_reinvite(s: Race) -> None:
    """RFC 4028 7.4: the offer of a refresh is the description that holds, its o= line and version included."""
    s.bob.quirks.alter = without_update
    await s.transferring()
    s.bob.call.answer(headers=[("Require", "timer"), ("Session-Expires", "90;refresher=uac")])
    await s.ends(TRANSFERRED)
    await s.comes(lambda: len(s.sent_to(s.bob, "INVITE")) > 1, "our refresh", within=60)
    *_, before, refresh = s.offered[s.bob.address[0]].values()
    s.assertEqual(refresh, before)
    await s.passes(1)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.talk()


@race("R23")
async def the_callers_session_expires(s: Race) -> None:
    """A refreshes no more: that is its hang-up."""
    s.alice.session_timer = TimerWish(90, "uac")
    s.alice.quirks.no_refresh = s.alice.quirks.no_expiry = True
    await s.transferred()
    await s.passes(95)
    await s.outcome(IDLE, IDLE, NORMAL)
    await s.saw(s.alice, BYE=1)
    await s.saw(s.bob, BYE=1)


@race("R23")
async def the_targets_session_expires(s: Race) -> None:
    """B refreshes no more: that leg is ended, and A comes back."""
    s.bob.session_timer = TimerWish(90, "uas")
    s.bob.quirks.no_refresh = s.bob.quirks.no_expiry = True
    await s.transferred()
    await s.passes(62)
    await s.outcome(ANSWERED, IDLE, NORMAL)
    await s.saw(s.bob, BYE=1)
    await s.saw(s.alice, BYE=0)


@race("R23")
async def both_phones_refresh(s: Race) -> None:
    """A by UPDATE, B by re-INVITE: four minutes later everybody still talks."""
    s.alice.session_timer = TimerWish(90, "uac", by="UPDATE")
    s.bob.session_timer = TimerWish(90, "uas")
    await s.transferred()
    await s.passes(240)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    for phone in (s.alice, s.bob):
        s.assertGreaterEqual(phone.call.timer.refreshed, 4)
        s.assertFalse(phone.call.timer.expired)
    await s.talk()


@race("R23")
async def too_brief_for_the_target(s: Race) -> None:
    """A 422 is retried with the Min-SE it names: a new branch, the next CSeq (rule 2)."""
    s.bob.session_timer = TimerWish(7200, min_se=3600)
    await s.transferred()
    first, second = s.sent_to(s.bob, "INVITE")
    s.assertEqual([one.cseq.number for one in (first, second)], [1, 2])
    s.assertNotEqual(first.via.branch, second.via.branch)
    s.assertEqual((first.call_id, first.from_.tag), (second.call_id, second.from_.tag))
    s.assertEqual([second.get("Session-Expires"), second.get("Min-SE")], ["3600", "3600"])
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)


async def holds(s: Race, holder: str, direction: str) -> None:
    """Hold and resume, on either side."""
    phone, other = (s.alice, s.bob) if holder == "alice" else (s.bob, s.alice)
    await s.transferred()
    s.assertEqual(await phone.hold(direction), 200)
    await s.quiet(phone)
    if direction == "inactive":
        await s.deaf(other, SAYS[holder])
    elif not phone.quirks.hold_with_zero:
        await s.hears(other, SAYS[holder])
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    s.assertEqual(await phone.resume(), 200)
    await s.passes(0.3)
    await s.talk()
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.saw(other, INVITE=0 if other is s.alice else 1)


@race("R24")
async def caller_holds_sendonly(s: Race) -> None:
    """Nothing is sent to A, B hears what A plays; resume restores."""
    await holds(s, "alice", "sendonly")


@race("R24")
async def caller_holds_inactive(s: Race) -> None:
    """Nothing is sent to A, B hears silence."""
    await holds(s, "alice", "inactive")


@race("R24")
async def caller_holds_by_address_zero(s: Race) -> None:
    """c=0.0.0.0, the hold of before RFC 3264."""
    s.alice.quirks.hold_with_zero = True
    await holds(s, "alice", "sendonly")


@race("R25")
async def target_holds_sendonly(s: Race) -> None:
    """The mirror of R24."""
    await holds(s, "bob", "sendonly")


@race("R25")
async def target_holds_by_address_zero(s: Race) -> None:
    """The mirror of R24."""
    s.bob.quirks.hold_with_zero = True
    await holds(s, "bob", "sendonly")


@race("R25")
async def retrieval_while_the_target_holds(s: Race) -> None:
    """Retrieval is allowed at any moment."""
    await s.transferred()
    s.assertEqual(await s.bob.hold("inactive"), 200)
    s.assertIs(await s.a.retrieve_transferred_call(), ANSWERED)
    await s.outcome(ANSWERED, ANSWERED, NORMAL)
    await s.deaf(s.alice, BOB)
    s.assertEqual(await s.bob.resume(), 200)


@race("R26")
async def reinvite_without_an_offer(s: Race) -> None:
    """Our 200 carries a full offer, their ACK the answer: it is never guessed to be a hold."""
    await s.transferred()
    s.assertEqual(await s.alice.call.reinvite(offer=False), 200)
    await s.passes(0.3)
    offer = s.sent_to(s.alice, "_200")[-1].body
    s.assertIn(b"RTP/AVP 8 0 101\r\n", offer)
    s.assertIn(b"a=sendrecv\r\n", offer)
    await s.talk()
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)


@race("R26")
async def reinvite_without_offer_nor_answer(s: Race) -> None:
    """An ACK without an answer keeps the old session, and is in nobody's way."""
    await s.transferred()

    def bare(message: Message) -> Message:
        if isinstance(message, Request) and message.method == "ACK":
            message.body = b""
        return message

    s.alice.quirks.alter = bare
    s.assertEqual(await s.alice.call.reinvite(offer=False), 200)
    await s.passes(0.5)
    await s.talk()
    s.alice.quirks.alter = None
    s.assertEqual(await s.alice.hold("inactive"), 200)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)


@race("R27")
async def keys_both_ways(s: Race) -> None:
    """Each press is detected once and passed on once."""
    await s.transferred()
    await s.alice.press("0123456789*#")
    await s.bob.press("147#")
    await s.passes(0.5)
    s.assertEqual((s.bob.digits, s.alice.digits), ("0123456789*#", "147#"))
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)


@race("R27")
async def keys_by_info(s: Race) -> None:
    """A caller that has no telephone events sends INFO: the target gets events; and the other way round."""
    s.alice.quirks.no_events = True
    await s.transferred()
    for key in "15#":
        await s.alice.press(key, by="info")
        await s.passes(0.4)
    await s.bob.press("7*")
    await s.passes(1)
    s.assertEqual((s.bob.digits, s.alice.digits), ("15#", "7*"))
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.talk()


@race("R28")
async def codecs_and_packet_times_differ(s: Race) -> None:
    """A's codec is offered first to B; what differs is recoded and repacketised here, and A is left alone."""
    s.alice.codecs, s.bob.codecs = ("PCMU",), ("PCMA",)
    s.bob.ptime = 30
    await s.transferred()
    s.assertIn(b"RTP/AVP 0 8 101\r\n", s.bob.call.invite.body)
    since = s.now()
    await s.talk()
    s.assertEqual({one.payload_type for one in packets_of(s.alice, since)}, {0})
    s.assertEqual({(one.payload_type, one.size) for one in packets_of(s.bob, since)}, {(8, 240)})
    await s.saw(s.alice, INVITE=0)


@race("R29")
async def srtp_on_one_side(s: Race) -> None:
    """SRTP ends at each leg: both hear each other, and no key of A's crosses to B."""
    s.alice.srtp = "AES_CM_128_HMAC_SHA1_80"
    await s.transferred()
    s.assertIn(b"RTP/SAVP", s.alice.call.invite.body)
    for key in (b"crypto", b"inline:", b"SAVP"):
        s.assertNotIn(key, s.bob.call.invite.body)
    await s.talk()
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)


@race("R30")
async def refer(s: Race) -> None:
    """603 unless the application opted in; the transfer goes on."""
    await s.transferred()
    target = ("Refer-To", f"<{s.carol.uri}>"), ("Contact", f"<{s.bob.uri}>")
    response = await s.request(s.bob, "REFER", *target)
    assert response is not None
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    s.assertEqual(response.status, 603)
    await s.saw(s.carol, INVITE=0)


@race("R30")
async def refer_followed(s: Race) -> None:
    """Where the application has opted in: 202, NOTIFY 100, a new leg in the place of the old, the final NOTIFY."""
    await s.transferred()
    s.orderly(s.bob, s.carol)
    s.b.refer = "follow"
    done = s.bob.transfer(s.carol.uri)
    await s.comes(lambda: s.carol.calls, "carol's call")
    s.carol.answer()
    s.assertEqual(await done, 200)
    [referral] = s.bob.call.referrals.sent
    s.assertEqual((referral.answer, referral.reports), (202, ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"]))
    s.bob.hang_up()
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.passes(0.3)
    await s.hears(s.alice, SAYS["carol"])
    await s.hears(s.carol, ALICE)
    await s.saw(s.carol, INVITE=1, ACK=1, BYE=0)


@race("R30")
async def refer_followed_in_vain(s: Race) -> None:
    """Who is called refuses: B is told so, and the two talk on."""
    await s.transferred()
    s.b.refer = "follow"
    told = s.bob.transfer(s.carol.uri)
    await s.comes(lambda: s.carol.calls, "carol's call")
    s.carol.reject(486)
    s.assertEqual(await told, 486)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.talk()


@race("R30")
async def referrer_hangs_up_at_once(s: Race) -> None:
    """B leaves before the new leg answers: A hears it ring, and is nobody's to retrieve meanwhile."""
    await s.transferred()
    s.b.refer = "follow"
    s.bob.transfer(s.carol.uri)
    await s.comes(lambda: s.carol.calls, "carol's call")
    s.bob.hang_up()
    await s.passes(1)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    s.carol.answer()
    await s.passes(0.5)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.hears(s.alice, SAYS["carol"])
    await s.saw(s.bob, BYE=0)


def replaces(s: Race) -> str:
    """What names bob's leg to us: its Call-ID, our tag, his tag."""
    call = s.bob.call
    return f"{call.call_id};to-tag={call.invite.from_.tag};from-tag={call.local_tag}"


@race("R31")
async def replaced_by_its_own_phone(s: Race) -> None:
    """B's phone takes the call over in a new leg: accepted, swapped into the join, the old leg gets our BYE."""
    await s.transferred()
    old = s.bob.call
    s.bob.dial(s.uri("3300"), headers=[("Replaces", replaces(s)), ("Require", "replaces")])
    await s.saw(s.bob, BYE=1)
    s.assertEqual(old.ended_by, "far")
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.talk()


@race("R31")
async def replaces_refused(s: Race) -> None:
    """A stranger 403; no match 481; two of them 400; early-only, but answered 486; ended 603; nothing changes."""
    await s.transferred()
    unknown = "nobody@nowhere;to-tag=1;from-tag=2"
    refused = []
    for values in ([replaces(s)], [unknown], [unknown, unknown]):
        call = s.carol.dial(s.uri("3300"), headers=[("Require", "replaces"), *(("Replaces", v) for v in values)])
        await s.comes(lambda call=call: call.status, "a final response")  # type: ignore[misc]
        refused.append(call.status)
    s.assertEqual(refused, [403, 481, 400])
    old = replaces(s)
    call = s.bob.dial(s.uri("3300"), headers=[("Require", "replaces"), ("Replaces", f"{old};early-only")])
    await s.comes(lambda: call.status, "a final response")
    s.assertEqual(call.status, 486)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.b.hang_up()
    late = s.carol.dial(s.uri("3300"), headers=[("Require", "replaces"), ("Replaces", old)])
    await s.comes(lambda: late.status, "a final response")
    s.assertEqual(late.status, 603)


@race("R31")
async def replaced_caller(s: Race) -> None:
    """The same for A: its own phone takes its place in the join, TRANSFERRED stays."""
    await s.transferred()
    old = s.alice.call
    s.alice.dial(s.uri("3300"), replaces=old)
    await s.saw(s.alice, BYE=1)
    s.assertEqual(old.ended_by, "far")
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.talk()


@race("R31")
async def replaces_once_it_is_over(s: Race) -> None:
    """A dialog that has ended: 603; what came of its end stays."""
    await s.transferred()
    value = replaces(s)
    s.bob.hang_up()
    await s.outcome(ANSWERED, IDLE, NORMAL)
    call = s.bob.dial(s.uri("3300"), headers=[("Require", "replaces"), ("Replaces", value)])
    await s.comes(lambda: call.status, "a final response")
    s.assertEqual(call.status, 603)
    await s.outcome(ANSWERED, IDLE, NORMAL)


@race("R32", anchored="the media timer is off")
async def target_falls_silent(s: Race) -> None:
    """No RTP and no RTCP from B for 30 s: that leg is ended, and A comes back."""
    await s.transferred()
    s.bob.call.media.audio.mouth.stop()
    await s.passes(33)
    await s.outcome(ANSWERED, IDLE, NORMAL)
    await s.saw(s.bob, BYE=1)


@race("R32", anchored="the media timer is off")
async def caller_falls_silent(s: Race) -> None:
    """No RTP and no RTCP from A for 30 s: both legs are ended."""
    await s.transferred()
    s.alice.call.media.audio.mouth.stop()
    await s.passes(33)
    await s.outcome(IDLE, IDLE, NORMAL)
    await s.saw(s.alice, BYE=1)
    await s.saw(s.bob, BYE=1)


@race("R32")
async def silence_on_hold(s: Race) -> None:
    """Whoever holds needn't send anything; from the resumption on it must."""
    await s.transferred()
    s.assertEqual(await s.bob.hold("sendonly"), 200)
    s.bob.call.media.audio.mouth.stop()
    await s.passes(100)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    s.assertEqual(await s.bob.resume(), 200)
    await s.passes(25)
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)


@race("R33")
async def ringback_to_the_frame(s: Race) -> None:
    """One tone from the first 180 on, however often it rings, and none over B's voice."""
    s.orderly(s.alice, s.bob)
    await s.transferring()
    since = s.now()
    s.bob.ring(183)
    s.bob.ring(180)
    await s.passes(1)
    s.bob.answer()
    await s.ends(TRANSFERRED)
    await s.passes(1)
    [ringback] = s.alice.heard(*RINGBACK, since=since - 0.3)
    [voice] = s.alice.heard(BOB, since=since - 0.3)
    s.assertGreaterEqual(voice.start_s, ringback.end_s - 0.01)
    s.assertLess(voice.start_s, ringback.end_s + 0.1)
    s.assertApproximates(ringback.levels[0], -19, 0.5)
    since = s.now()
    s.bob.call.media.audio.mouth.stop()
    await s.passes(8)
    s.assertEqual(s.alice.heard(*RINGBACK, since=since), [], "nor where B says nothing")


@race("R33")
async def ringing_again_in_the_tones_pause(s: Race) -> None:
    """A second 180 starts no second tone: the pause of the first goes on, 2 to 6 s from its beginning."""
    s.orderly(s.alice, s.bob)
    await s.transferring()
    await s.passes(2.5)
    since = s.now()
    s.bob.ring(180)
    await s.passes(2)
    s.assertEqual(s.alice.heard(*RINGBACK, since=since), [])
    await s.passes(3)
    s.assertEqual(len(s.alice.heard(*RINGBACK, since=since)), 1)


@race("R34")
async def server_stops(s: Race) -> None:
    """New calls get 503; what runs goes on, and ends with a BYE to both."""
    await s.transferring()
    s.exchange.draining = True
    call = s.carol.dial(s.uri("3300"))
    await s.comes(lambda: call.status, "a final response")
    s.assertEqual(call.status, 503)
    s.assertTrue(s.sent_to(s.carol, "_503")[0].has("Retry-After"))
    s.bob.answer()
    await s.ends(TRANSFERRED)
    await s.comes(lambda: s.bob.call.answered, "the ACK of bob's 200")
    await s.passes(0.3)
    await s.talk()
    s.exchange.close()
    await s.outcome(IDLE, IDLE, NORMAL)
    await s.saw(s.alice, BYE=1)
    await s.saw(s.bob, BYE=1)


# -- beyond R34: what the caller's leg does alone ----------------------------------------------------------------


@race("R35")
async def our_200_is_never_acknowledged(s: Race) -> None:
    """Repeated for 64*T1, then BYE; IDLE with cause TIMEOUT."""
    s.alice.quirks.no_ack = True
    s.orderly(s.alice)
    await s.calls_in()
    s.assertIs(await s.a.answer(), IDLE)
    since, *again = s.times(s.alice, "_200")
    s.assertEqual([round(one - since, 3) for one in again], [0.5, 1.5, *(3.5 + 4 * n for n in range(8))])
    s.assertIs(s.a.cause(), Cause.TIMEOUT)
    await s.saw(s.alice, BYE=1)


@race("R36")
async def cancel_crosses_our_200(s: Race) -> None:
    """The INVITE stays answered; A's ACK and BYE end it."""
    s.orderly(s.alice)
    await s.calls_in()
    s.a.ring()
    await s.comes(lambda: s.alice.call.rang, "our 180")
    verb = s.a.answer()
    s.alice.cancel()
    s.assertIs(await verb, ANSWERED)
    await s.comes(lambda: s.a.state() is IDLE, "the caller's BYE")
    await s.saw(s.alice, _200=1, _487=0, BYE=0)
    for method in ("CANCEL", "BYE"):
        s.assertEqual({one.status for one in s.got_all(s.alice) if one.cseq.method == method}, {200})


@race("R37")
async def connections_drop(s: Race) -> None:
    """Media goes on; the next request opens a new connection."""
    s.alice.transport = s.bob.transport = "tcp"
    await s.transferred()
    for phone in (s.alice, s.bob):
        s.assertGreater(s.network.reset_streams(SERVER, phone.address[0]), 0)
    await s.passes(0.5)
    await s.talk()
    await s.outcome(TRANSFERRED, ANSWERED, NORMAL)
    await s.a.hang_up()
    await s.outcome(IDLE, IDLE, NORMAL)
    await s.saw(s.alice, BYE=1)
    await s.saw(s.bob, BYE=1)


@race("R38")
async def application_ends_while_transferred(s: Race) -> None:
    """Both channels are released, as when ``main`` raises: both legs end."""
    await s.transferred()
    s.a.release()
    s.b.release()
    await s.outcome(IDLE, IDLE, NORMAL)
    await s.saw(s.alice, BYE=1)
    await s.saw(s.bob, BYE=1)
