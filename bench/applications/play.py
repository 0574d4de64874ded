"""Answers and plays a file to the caller again and again, until it hangs up."""

from telephony import Hangup

__uas_identify__ = "application"
__uas_version__ = "1.0"


async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Take the call; application_parameters is the file."""
    try:
        await channel.answer()
        while True:
            await channel.FilePlayer.play(application_parameters)
    except Hangup:
        return 0
