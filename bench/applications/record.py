"""Answers and records the caller until it hangs up."""

from telephony import Hangup

__uas_identify__ = "application"
__uas_version__ = "1.0"


async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Take the call; the recording is deleted when it is over."""
    name = f"bench-{application_instance_id}.wav"
    try:
        await channel.answer()
        await channel.FileRecorder.record(name)
    except Hangup:
        pass
    finally:
        file_man.delete_file(name)
    return 0
