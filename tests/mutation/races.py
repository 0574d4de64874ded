"""The rules of ``transfer.md``, at least one for each row of its table of races, and the edits that take them out.

Owns: which rules there are and the code that holds each. Must not know how edits are found or tests run.

A rule that two layers hold is taken out of both: either alone would be noticed by nobody, and needn't be. Where that
is so the edits are of several places. ``python -m tests.mutation --rules`` shows which of a row's own tests, those that
have it in their names, fail without the rule.
"""

from __future__ import annotations

from tests.mutation.rules import Edit, Rule

_CHANNEL = "telephony/call/channel.py"
_CORE = "telephony/call/core.py"
_EXCHANGE = "telephony/call/exchange.py"
_LEG = "telephony/call/leg.py"
_LEG_CORE = "telephony/call/leg_core.py"
_REPLACING = "telephony/call/replacing.py"
_SUCCESSION = "telephony/call/succession.py"
_TRANSFER = "telephony/call/transfer.py"
_VERBS = "telephony/call/verbs.py"
_WAITING = "telephony/call/waiting.py"
_ENDPOINT = "telephony/media/endpoint.py"
_JOIN = "telephony/media/join.py"
_EVENT = "telephony/rtp/telephone_event.py"
_LATCH = "telephony/rtp/latch.py"
_RTP = "telephony/rtp/session.py"
_SDP = "telephony/sdp/negotiation.py"
_INCOMING = "telephony/sip/incoming.py"
_OFFERS = "telephony/sip/offers.py"
_OUTGOING = "telephony/sip/outgoing.py"
_READING = "telephony/sdp/reading.py"
_REDIRECTS = "telephony/sip/redirects.py"
_REFER = "telephony/sip/refer.py"
_REPLACES = "telephony/sip/replaces.py"
_SENDING = "telephony/sip/sending.py"
_SESSION = "telephony/sip/session.py"
_TIMER = "telephony/sip/session_timer.py"
_TRANSACTION = "telephony/sip/client_transaction.py"
_USER_AGENT = "telephony/sip/user_agent.py"
_WAYS = "telephony/sip/ways.py"


def _rule(rows: str, text: str, *edits: tuple[str, str, str, str], also: str = "") -> Rule:
    return Rule(tuple(rows.split(", ")), text, tuple(Edit(*edit) for edit in edits), also)


#: Every row of the table.
ROWS = (*(f"R{number}" for number in range(1, 7)), "R7a", "R7b", *(f"R{number}" for number in range(8, 39)))

RULES: tuple[Rule, ...] = (
    # -- B has not answered --------------------------------------------------------------------------------------
    _rule(
        "R1",
        "CANCEL only after a 1xx (rule 2, RFC 3261 9.1)",
        (_OUTGOING, "OutgoingSession._withdraw", "self._heard", "True"),
    ),
    _rule(
        "R1",
        "a CANCEL that waits is sent with the first 1xx",
        (_OUTGOING, "OutgoingSession._withdrawn_progress", "self._cancel_wanted", "False"),
    ),
    _rule(
        "R1",
        "A's end cancels B, whatever state B is in (rule 6)",
        (
            _TRANSFER,
            "_caller_hung_up",
            "transfer.target.drop_target(Cause.NORMAL, 487, 'Caller hung up')",
            "None",
        ),
    ),
    _rule(
        "R2, R8",
        "a 2xx that comes after we gave up: ACK, then BYE (rule 1)",
        (_OUTGOING, "OutgoingSession._withdrawn_success", "self._another(response)", "None"),
        # Its repetition would be.
        (_OUTGOING, "", "(_S.ENDED, (_Out._another,))", "(_S.ENDED, ())"),
    ),
    _rule(
        "R2",
        "each repetition of a 2xx gets its ACK again (rule 1)",
        (_OUTGOING, "OutgoingSession._another", "self.core.renewed(flow).send(ack)", "None"),
    ),
    _rule(
        "R3",
        "the verb ends at its limit, it does not wait for the 487",
        (_TRANSFER, "_time_up", "_fail(transfer, TransferCause.TIMEOUT)", "None"),
    ),
    _rule(
        "R3",
        "CANCEL has a Reason",
        (_OUTGOING, "OutgoingSession._send_cancel", "cancel.set('Reason', written)", "None"),
    ),
    _rule(
        "R4",
        "the target's word is TARGETREJECT, what says more about the path FAIL",
        (_CORE, "ChannelCore.leg_over", "transfer_cause_of_status(ending.status)", "TransferCause.TARGETREJECT"),
    ),
    _rule(
        "R4",
        "a final response gets its ACK, each time it comes",
        (_TRANSACTION, "InviteClientTransaction._acknowledge", "self.flow.send(self._data)", "None"),
        (_TRANSACTION, "InviteClientTransaction._acknowledge_again", "self.flow.send(self._data)", "None"),
    ),
    _rule(
        "R4",
        "a 6xx ends hunting",
        (_OUTGOING, "OutgoingSession._redirected", "response.status >= 600", "False"),
    ),
    _rule(
        "R5",
        "the next target where one is silent or can't be reached (RFC 3263 4.3)",
        (_SENDING, "Sending._failed", "self._move_on()", "False"),
    ),
    _rule(
        "R5",
        "the next target where one says 503",
        (_SENDING, "Sending._response", "self._move_on()", "False"),
    ),
    _rule(
        "R6",
        "a 3xx is followed",
        (_OUTGOING, "OutgoingSession._redirected", "redirects.take(response)", "None"),
    ),
    _rule(
        "R6",
        "each contact once",
        (
            _REDIRECTS,
            "Redirects.take",
            "any(uri.equals(one) for one in (*self._called, *(waiting for _q, waiting in self._waiting)))",
            "False",
        ),
    ),
    _rule(
        "R6",
        "only where the service may dial",
        (_REDIRECTS, "Redirects.next", "self._may_dial(uri)", "True"),
    ),
    _rule(
        "R7a",
        "a BYE before its 200 gets a 200",
        (
            _OUTGOING,
            "OutgoingSession._take_stray",
            "request.method == 'BYE' and len(self._early_byes) < MAX_FORKS",
            "False",
        ),
    ),
    _rule(
        "R7a",
        "the 2xx behind a BYE gets an ACK and no BYE of ours",
        (_OUTGOING, "OutgoingSession._another", "tag in self._early_byes", "False"),
    ),
    _rule(
        "R7b",
        "the verb returns the state as it was when it ended",
        (
            _WAITING,
            "Waiting._tell_who_waits",
            "partial(wait.claim(), new)",
            "lambda wait=wait: wait.claim()(self._state)",
        ),
    ),
    _rule(
        "R7b",
        "B's end is A's retrieval",
        (_TRANSFER, "_retrieve", "transfer.caller.transfer_retrieving()", "None"),
    ),
    # -- A goes, or both at once ---------------------------------------------------------------------------------
    _rule(
        "R8, R9, R23, R32",
        "A's end ends B (rule 6)",
        (_TRANSFER, "_end_target", "transfer.target.drop_target(Cause.NORMAL, 0, '')", "None"),
    ),
    _rule(
        "R9",
        "both hang up at once: 200 to theirs",
        (_SESSION, "Session._take_bye", "dialog.remote_tag in self._dialogs", "self._reply(transaction, request, 481)"),
    ),
    _rule(
        "R9",
        "a 481 to our BYE is success",
        (
            _SESSION,
            "Session._send_bye",
            "self._send(request, flow, dialog)",
            "self._send(request, flow, dialog, on_response=lambda response: response.status == 481"
            " and (setattr(dialog, 'over', False), self._send_bye(dialog, headers)))",
        ),
    ),
    # -- two requests at once ------------------------------------------------------------------------------------
    _rule(
        "R10, R11",
        "491 to an offer that meets one of ours (RFC 3261 14.2, RFC 3311 5.2)",
        (_SESSION, "Session._glare", "self.offers is not None and self.offers.offering", "False"),
        # The description's own machine knows it too.
        (_SDP, "Negotiation.offered", "self._offer is not None", "False"),
    ),
    _rule(
        "R10",
        "on their 491 ours is sent again (RFC 3261 14.1)",
        (_OFFERS, "Offers._wait_for", "status == 491", "False"),
    ),
    _rule(
        "R10",
        "who owns the Call-ID waits longer",
        (_OFFERS, "Offers._wait_for", "self._session.direction == 'out'", "False"),
    ),
    _rule(
        "R10",
        "one at a time: what waits after a 491 is not sent because something else is over (rule 4)",
        (
            _OFFERS,
            "Offers.go_on",
            "self._wishes and self._running is None and self._wait is None and self._session.may_offer",
            "self._wishes and self._session.may_offer",
        ),
    ),
    _rule(
        "R10",
        "a BYE ends the wait",
        (_SESSION, "Session._stop_all", "offers.close()", "None"),
        # What would come after the wait finds a session that is over.
        (
            _SESSION,
            "Session.may_offer",
            "usable and self.state is SessionState.CONFIRMED and not self._unacked and self.observer is not None",
            "self.state in (SessionState.CONFIRMED, SessionState.ENDED) and not self._unacked",
        ),
        (_OFFERS, "Offers._send", "assert observer is not None and dialog is not None", ""),
        (
            _OFFERS,
            "Offers._send",
            "b'' if update else observer.session_offer(session, wish.purpose)",
            "b'' if update or observer is None else observer.session_offer(session, wish.purpose)",
        ),
        (_OFFERS, "Attempt.begin", "session.over", "False"),
    ),
    _rule(
        "R11",
        "a lower CSeq is 500 (RFC 3261 12.2.2)",
        (
            _SESSION,
            "Session.take",
            "dialog.remote_cseq is not None and number <= dialog.remote_cseq",
            "False",
        ),
    ),
    _rule(
        "R11",
        "a second INVITE while the first is pending is 500",
        (_SESSION, "Session._take_invite", "500 if self.direction == 'in' else 491", "0"),
    ),
    _rule(
        "R11",
        "such a 500 has Retry-After",
        (_SESSION, "Session._refuse_offer", "status == 500", "False"),
    ),
    _rule(
        "R12",
        "an INVITE for a dialog that is gone is 481",
        (_SESSION, "Session.take", "dialog.over", "False"),
        (_SESSION, "Session._take_invite", "self.over", "False"),
    ),
    _rule(
        "R12",
        "487 to their pending INVITE when their BYE comes (RFC 3261 15.1.2)",
        (_INCOMING, "IncomingSession._report_cancelled", "self._refuse(487)", "self._end(None)"),
    ),
    _rule(
        "R13",
        "a retrieval that comes late is no error",
        (
            _CHANNEL,
            "CallChannel._require_transferred",
            "self._state is State.ANSWERED and not self._retrieved",
            "self._state is State.ANSWERED",
        ),
    ),
    _rule(
        "R13",
        "after a retrieval B is an ordinary channel (rule 6)",
        (
            _TRANSFER,
            "_retrieve",
            "transfer.caller.transfer_retrieving()",
            "transfer.target.drop_target(Cause.NORMAL, 0, ''), transfer.caller.transfer_retrieving()",
        ),
    ),
    _rule(
        "R14",
        "A's BYE processed before the verb: Hangup",
        (_CORE, "ChannelCore.require", "self._state is State.IDLE", "False"),
    ),
    _rule(
        "R14",
        "the wait_ verbs never raise Hangup",
        (
            _CHANNEL,
            "CallChannel.wait_for_transferred_call_retrieval",
            "self._state is not State.IDLE",
            "True",
        ),
    ),
    _rule(
        "R14",
        "during RECONNECTING the verb returns IDLE",
        (_CHANNEL, "CallChannel.retrieve_transferred_call", "_RETRIEVED", "frozenset({State.ANSWERED})"),
    ),
    _rule(
        "R15",
        "a second verb on one channel raises Error",
        (_VERBS, "verb", "self.running_verb is not None", "False"),
        # Most verbs are for other states as well.
        (_CORE, "ChannelCore.require", "states.TABLE[self._state][one] is not states.REFUSED", "True"),
    ),
    _rule(
        "R15",
        "while it is the target's, other_call takes only hang_up and the readers",
        (
            _CORE,
            "ChannelCore.require",
            "self.claimed_by is not None and one is not Input.HANG_UP and one is not Input.MEDIA",
            "False",
        ),
    ),
    # -- forks, early media, answers -----------------------------------------------------------------------------
    _rule(
        "R16",
        "each 200 but the first gets a BYE",
        (_OUTGOING, "OutgoingSession._another", "self._send_bye(dialog, ())", "None"),
    ),
    _rule(
        "R16",
        "the first 200 wins",
        (_OUTGOING, "", "(_S.CONFIRMED, (_Out._another,))", "(_S.CONFIRMED, (_Out._win,))"),
    ),
    _rule(
        "R17",
        "media follows the winner, the loser's RTP is dropped",
        (_RTP, "RtpSession.apply", "self._latch.renew(agreed.remote_rtp, now)", "False"),
    ),
    _rule(
        "R17",
        "PRACK per early dialog (RFC 3262 4)",
        (
            _OUTGOING,
            "OutgoingSession._provisional",
            "self._early.take(self.request, response, number)",
            "None if self._ringing else self._early.take(self.request, response, number)",
        ),
    ),
    _rule(
        "R18",
        "a 180 behind early media brings no tone",
        (
            _TRANSFER,
            "Transfer",
            "ignored(_S.EARLY_MEDIA, _I.RINGS, _I.MEDIA)",
            "{_I.RINGS: (_S.RINGING, (_cut, _start_tone)), **ignored(_S.EARLY_MEDIA, _I.MEDIA)}",
        ),
    ),
    _rule(
        "R19",
        "the answer in a reliable 183 stands (RFC 3262 5, RFC 6337)",
        (_LEG, "Leg.session_answered", "self._reliable.get(fork)", "None"),
    ),
    _rule(
        "R19",
        "behind an unreliable 183 the 200's is the answer",
        (
            _LEG,
            "Leg.session_answered",
            "self._reliable.get(fork) or response.body or self._early_answers.get(fork, b'')",
            "self._early_answers.get(fork, b'') or response.body",
        ),
    ),
    _rule(
        "R20",
        "an unusable 200 is ended with BYE",
        (_LEG, "Leg.session_answered", "session.bye()", "None"),
    ),
    _rule(
        "R20",
        "a 183's answer on the same To tag is accepted",
        (_LEG, "Leg.session_answered", "self._early_answers.get(fork, b'')", "b''"),
    ),
    _rule(
        "R21",
        "a late 18x restarts no tone",
        (
            _TRANSFER,
            "Transfer",
            "ignored(_S.TRANSFERRED, _I.RINGS, _I.MEDIA, _I.REDIRECTED, _I.ANSWERED, _I.TIME_UP, _I.GIVEN_UP)",
            "{_I.RINGS: (_S.RINGING, (_cut, _start_tone)), **ignored(_S.TRANSFERRED, _I.MEDIA, _I.REDIRECTED,"
            " _I.ANSWERED, _I.TIME_UP, _I.GIVEN_UP)}",
        ),
        # The transaction drops what is provisional behind a 2xx, and so does the session.
        (
            _TRANSACTION,
            "",
            "ignored(_C.ACCEPTED, _CI.PROVISIONAL, _CI.FAILURE, _CI.RESEND, _CI.GIVE_UP, _CI.BROKEN)",
            "{_CI.PROVISIONAL: (_C.ACCEPTED, (_Invite._pass_up,)), **ignored(_C.ACCEPTED, _CI.FAILURE, _CI.RESEND,"
            " _CI.GIVE_UP, _CI.BROKEN)}",
        ),
        (
            _OUTGOING,
            "",
            "ignored(_S.CONFIRMED, _I.PROGRESS, _I.REFUSED, _I.LOST, _I.CANCEL, *_VERBS_OF_THE_CALLED)",
            "{_I.PROGRESS: (_S.CONFIRMED, (_Out._progress,)), **ignored(_S.CONFIRMED, _I.REFUSED, _I.LOST,"
            " _I.CANCEL, *_VERBS_OF_THE_CALLED)}",
        ),
    ),
    # -- two that talk -------------------------------------------------------------------------------------------
    _rule(
        "R22",
        "a stranger is not taken after the first second",
        (_LATCH, "Latch.admits", "not (goes_on and silent >= SILENCE)", "False"),
    ),
    _rule(
        "R22",
        "a NAT that rebinds is followed",
        (_LATCH, "Latch.admits", "not (goes_on and silent >= SILENCE)", "True"),
    ),
    _rule(
        "R23",
        "we refresh at half the time (RFC 4028 10)",
        (_TIMER, "SessionTimer._half", "self._refresh()", "None"),
    ),
    _rule(
        "R23",
        "a refresh has the description that holds, with its version (RFC 4028 7.4)",
        (_LEG, "Leg.session_offer", "self._negotiation.repeat()", "self._negotiation.offer('inactive')"),
    ),
    _rule(
        "R23",
        "expiry is that leg's hang-up (RFC 4028 10)",
        (_TIMER, "SessionTimer._over", "self._expired()", "None"),
    ),
    _rule(
        "R23",
        "a 422 is retried with its Min-SE (RFC 4028 7.3)",
        (
            _OUTGOING,
            "OutgoingSession._response",
            "not self._lengthened(response) and not self._redirected(response)",
            "not self._redirected(response)",
        ),
    ),
    _rule(
        "R24",
        "a hold is answered recvonly or inactive (RFC 3264 6.1)",
        (_SDP, "Negotiation.offered", "agreed.direction", "direction"),
    ),
    _rule(
        "R24, R25",
        "who holds is sent only what it wants",
        (
            _RTP,
            "RtpSession._aim",
            "agreed is not None and agreed.send and self._destination is not NOWHERE",
            "agreed is not None and self._destination is not NOWHERE",
        ),
    ),
    _rule(
        "R24, R25",
        "0.0.0.0 is a hold",
        (_READING, "_host", "return (None, True)", "return (None, False)"),
    ),
    _rule(
        "R25",
        "retrieval is allowed while the target holds",
        (
            _CHANNEL,
            "CallChannel.retrieve_transferred_call",
            "self.transfer is not None",
            "self.transfer is not None and self.transfer.target.leg.agreed.send",
        ),
    ),
    _rule(
        "R26",
        "a re-INVITE without an offer gets a full offer",
        (_LEG, "Leg.session_offered", "self._negotiation.current()", "self._negotiation.offer('recvonly')"),
    ),
    _rule(
        "R26",
        "an ACK without an answer keeps the old session",
        (_LEG, "Leg.session_answer_in_ack", "self._negotiation.rollback()", "None"),
    ),
    _rule(
        "R27",
        "each press is detected once, however many packets tell of it (RFC 4733 2.5.1.3)",
        (_EVENT, "PressDetector.feed", "key in self._known", "False"),
    ),
    _rule(
        "R27",
        "a press is passed on with the other leg's payload type",
        (_JOIN, "Path.event", "self._rtp.event_payload_type", "101"),
    ),
    _rule(
        "R27",
        "a press by INFO is passed on",
        (_LEG_CORE, "LegCore._key_by_info", "self.endpoint.pressed(key)", "None"),
    ),
    _rule(
        "R28",
        "A's codec is offered first to B",
        (
            _CHANNEL,
            "CallChannel.retrievable_transfer",
            "[] if self._leg.agreed is None else [self._leg.agreed.codec]",
            "[]",
        ),
    ),
    _rule(
        "R28",
        "codecs that differ are recoded",
        (
            _JOIN,
            "Path.audio",
            "None if codec == rtp.codec else CODECS[codec].translations[rtp.codec]",
            "None",
        ),
    ),
    _rule(
        "R28",
        "packet times that differ are repacketised",
        (_JOIN, "Path.audio", "samples == rtp.frame and not self._fifo", "True"),
    ),
    _rule(
        "R29",
        "SRTP is each leg's own: one is not secured because the other is",
        (_EXCHANGE, "Exchange.securing", "Securing.OFFERED if secure else Securing.TAKEN", "Securing.OFFERED"),
    ),
    _rule(
        "R29",
        "what comes secured is opened at its leg",
        (_RTP, "RtpSession._srtp_received", "self._rtp_received(packet, source)", "self._rtp_received(data, source)"),
    ),
    _rule(
        "R30",
        "603 unless the application opted in",
        (
            _SUCCESSION,
            "follow",
            "channel.refer != 'follow' or not _is_between_two(channel) or channel.succession is not None",
            "not _is_between_two(channel) or channel.succession is not None",
        ),
    ),
    _rule(
        "R30",
        "NOTIFY 100 behind the 202 (RFC 3515 2.4.4)",
        (_REFER, "Referred.accept", "self.report(100)", "None"),
    ),
    _rule(
        "R30",
        "the final NOTIFY (RFC 3515 2.4.7)",
        (_SUCCESSION, "Succession._take_place", "self._report(200)", "None"),
    ),
    _rule(
        "R31",
        "only from the old leg's own address, or by opt-in",
        (
            _REPLACING,
            "Replacing.screen",
            "session.peer_host == flow.remote[0] if asked is None else asked(session, request, flow)",
            "True",
        ),
    ),
    _rule(
        "R31",
        "no match is 481, not a new call (RFC 3891 3)",
        (_REPLACING, "Replacing.screen", "self._unknown(wanted, request, flow)", "None"),
        (_EXCHANGE, "Exchange._arrived", "session.request.has('Replaces')", "False"),
    ),
    _rule(
        "R31",
        "two Replaces are 400",
        (_REPLACES, "replaces_of", "len(values) > 1", "False"),
    ),
    _rule(
        "R31",
        "early-only on a confirmed dialog is 486",
        (_REPLACING, "Replacing.screen", "wanted.early_only and session.state is not SessionState.PROCEEDING", "False"),
    ),
    _rule(
        "R31",
        "a dialog that has ended is 603",
        (_REPLACING, "Replacing._unknown", "wanted in self.ended", "False"),
    ),
    _rule(
        "R31",
        "the old leg gets our BYE",
        (_SUCCESSION, "Succession._take_place", "old is None or old.session is None", "True"),
    ),
    # -- the ends that nobody asked for --------------------------------------------------------------------------
    _rule(
        "R32",
        "a leg without RTP and RTCP is ended",
        (_LEG_CORE, "LegCore._watch_media", "self.endpoint.watch(self.owner.media_timeout, self._media_lost)", "None"),
    ),
    _rule(
        "R32",
        "the media timer is paused while that leg needn't send",
        (_ENDPOINT, "Endpoint._timed_out", "not rtp.expecting", "False"),
    ),
    _rule(
        "R33",
        "the tone ends as the target answers: nothing plays over its voice",
        (_TRANSFER, "_before_the_answer", "(_stop_tone, _join)", "(_join,)"),
        # The first packet stops it too.
        (_JOIN, "Path._begin", "target.stop_source()", "None"),
    ),
    _rule(
        "R33",
        "a second 18x starts no second tone",
        (
            _TRANSFER,
            "Transfer",
            "ignored(_S.RINGING, _I.RINGS, _I.REDIRECTED)",
            "{_I.RINGS: (_S.RINGING, (_start_tone,)), **ignored(_S.RINGING, _I.REDIRECTED)}",
        ),
    ),
    _rule(
        "R34",
        "a server that stops refuses new calls with 503",
        (
            _EXCHANGE,
            "Exchange._screened",
            "self.closing or self.draining or len(self.channels) >= self.max_calls",
            "len(self.channels) >= self.max_calls",
        ),
    ),
    _rule(
        "R34",
        "then BYE to both",
        (_EXCHANGE, "Exchange.close", "channel.release()", "None"),
    ),
    _rule(
        "R35",
        "a 2xx of ours is sent again until its ACK comes (RFC 3261 13.3.1.4)",
        (_SESSION, "Unacknowledged._again", "self._transaction.send_again(self._data)", "None"),
    ),
    _rule(
        "R35",
        "without an ACK for 64*T1 it is ended with BYE",
        (_SESSION, "Session._report_unconfirmed", "self._hang_up(())", "self._end(None)"),
    ),
    _rule(
        "R36",
        "a CANCEL that crosses our 200 changes nothing (RFC 3261 9.2)",
        (_INCOMING, "IncomingSession._answer", "self._transaction.on_cancel = None", ""),
        (
            _INCOMING,
            "",
            "ignored(_S.ANSWERED, _I.DEAD, _I.FAR_CANCEL, _I.RING, _I.ANSWER, *_OF_THE_CALLER)",
            "{_I.FAR_CANCEL: (_S.ENDED, (_In._report_cancelled,)), **ignored(_S.ANSWERED, _I.DEAD, _I.RING,"
            " _I.ANSWER, *_OF_THE_CALLER)}",
        ),
    ),
    _rule(
        "R36",
        "a CANCEL gets its own 200",
        (
            _USER_AGENT,
            "UserAgent._take_cancel",
            "self._stateless.reply(request, back, 200, tag=invite.to_tag)",
            "None",
        ),
    ),
    _rule(
        "R37",
        "the next request opens a new connection",
        (_WAYS, "WayFinder.reach", "self._flow_to(dialog.target, flow)", "flow"),
    ),
    _rule(
        "R38",
        "whose application is gone is hung up",
        (
            _CORE,
            "ChannelCore.release",
            "self._end(Input.HANG_UP, Cause.NORMAL, 0, '', lambda leg: leg.end())",
            "self._end(Input.HANG_UP, Cause.NORMAL, 0, '')",
        ),
    ),
    # -- what always holds ---------------------------------------------------------------------------------------
    _rule(
        "rule 8",
        "towards B Max-Forwards is A's minus one",
        (
            _CHANNEL,
            "CallChannel.retrievable_transfer",
            "70 if arrived_with is None else arrived_with - 1",
            "70 if arrived_with is None else arrived_with",
        ),
        also="max_forwards",
    ),
)
