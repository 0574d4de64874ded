"""Answers, says goodbye as often as application_parameters tells, hangs up."""

from telephony import Hangup

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Take the call."""
    channel.answer()
    try:
        for _ in range(int(application_parameters)):
            channel.FilePlayer.play("goodbye.wav")
    except Hangup:
        my_log.info("the caller has hung up")
    channel.hang_up()
    return 0
