"""Answers, holds the caller to a tone, resumes, says goodbye; application_parameters is a file for the states."""

import time
from pathlib import Path

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Take the call."""
    states = [channel.answer()]
    time.sleep(0.5)
    states.append(channel.hold(music="RINGBACK"))
    time.sleep(1.5)
    states.append(channel.resume())
    channel.FilePlayer.play("goodbye.wav")
    states.append(channel.hang_up())
    Path(application_parameters).write_text(" ".join(str(one) for one in states))
    return 0
