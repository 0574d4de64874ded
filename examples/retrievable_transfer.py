"""Greets a caller, hands the call to somebody else without letting go of it, and says goodbye when it comes back.

application_parameters is who to transfer to, like sip:3301@127.0.0.1:5070. Try it:

    twistd -n telephony --listen udp:127.0.0.1:5060 --app examples/retrievable_transfer.py \
        --parameters sip:3301@127.0.0.1:5070
"""

from telephony import Hangup, TonePlayer

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Run once for each call, in a thread of its own: every verb blocks."""
    other_call = channel.ExtraChannel[0]
    try:
        if channel.answer() != channel.State.ANSWERED:
            return -100
        channel.FilePlayer.play("greeting.wav")

        TonePlayer(channel)  # the caller hears its ringback tone while the target rings
        state = channel.retrievable_transfer(
            other_call, call_to=application_parameters, call_from=channel.Details.call_from, seconds_timeout=60
        )
        if state == channel.State.TRANSFERRED:
            my_log.info(f"transferred to {application_parameters}")
            state = channel.wait_for_transferred_call_retrieval()
        else:
            my_log.warning(f"could not transfer the call, reason is {channel.transfer_cause()} ({other_call.cause()})")

        if state == channel.State.ANSWERED:  # the target has hung up, or could not be reached
            channel.FilePlayer.play("goodbye.wav")
        channel.hang_up()
        return 0
    except Hangup:
        my_log.info("the caller has hung up")
        return 0
