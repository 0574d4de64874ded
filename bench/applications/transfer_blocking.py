"""Answers, transfers the caller to application_parameters, waits for it to come back, and hangs up; in a thread."""

from telephony import TonePlayer

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Take the call, with ringback for the time in which the target rings."""
    channel.answer()
    TonePlayer(channel)
    caller = channel.Details.call_from
    channel.retrievable_transfer(channel.ExtraChannel[0], application_parameters, call_from=caller)
    if channel.state() == channel.State.TRANSFERRED:
        channel.wait_for_transferred_call_retrieval()
    channel.hang_up()
    return 0
