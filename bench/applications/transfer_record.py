"""``transfer.py``, recording the target of every tenth call for as long as it lasts."""

from telephony import Hangup, TonePlayer

__uas_identify__ = "application"
__uas_version__ = "1.0"


async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Take the call."""
    name = f"bench-{application_instance_id}.wav"
    other, caller = channel.ExtraChannel[0], channel.Details.call_from
    recording = int(application_instance_id, 16) % 10 == 0
    try:
        await channel.answer()
        TonePlayer(channel)
        await channel.retrievable_transfer(other, application_parameters, call_from=caller)
        if channel.state() == channel.State.TRANSFERRED:
            if recording:
                await other.FileRecorder.start(name)
            await channel.wait_for_transferred_call_retrieval()
        await channel.hang_up()
    except Hangup:
        pass
    finally:
        if recording:
            await other.FileRecorder.wait_until_finished()
            my_log.info(f"recorded {name}: {file_man.exists(name)}")
            file_man.delete_file(name)
    return 0
