"""Answers and plays a tone to the caller until it hangs up."""

from telephony import Hangup, TonePlayer

__uas_identify__ = "application"
__uas_version__ = "1.0"


async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Take the call; application_parameters is the name of the tone."""
    try:
        await channel.answer()
        await TonePlayer(channel).play(application_parameters)
        await channel.wait_for_idle()
    except Hangup:
        pass
    return 0
