"""Answers, plays the greeting over and over, until the caller hangs up: what a doctor can ask everything of."""

from telephony import Hangup

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Run for each call."""
    try:
        channel.answer()
        while True:
            channel.FilePlayer.play("greeting.wav")
    except Hangup:
        pass
    return 0
