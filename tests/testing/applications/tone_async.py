"""Runs on the loop: plays a tone until the caller goes."""

from telephony.call.resources import TonePlayer
from telephony.media.tones import PredefinedTones

__uas_identify__ = "application"
__uas_version__ = "1.0"


async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Return 7."""
    await channel.answer()
    await TonePlayer(channel).start(PredefinedTones.DIAL)
    await channel.wait_for_idle()
    return 7
