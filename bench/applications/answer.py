"""Rings, answers, and stays until the caller hangs up: the least that an application does."""

__uas_identify__ = "application"
__uas_version__ = "1.0"


async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Take the call."""
    await channel.ring()
    await channel.answer()
    await channel.wait_for_idle()
    return 0
