"""The same as retrievable_transfer.py, as a coroutine: it runs on the reactor and awaits its verbs."""

from telephony import Hangup, TonePlayer

__uas_identify__ = "application"
__uas_version__ = "1.0"


async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Run once for each call: every verb returns a Deferred."""
    other_call = channel.ExtraChannel[0]
    try:
        if await channel.answer() != channel.State.ANSWERED:
            return -100
        await channel.FilePlayer.play("greeting.wav")

        TonePlayer(channel)  # the caller hears its ringback tone while the target rings
        state = await channel.retrievable_transfer(
            other_call, call_to=application_parameters, call_from=channel.Details.call_from, seconds_timeout=60
        )
        if state == channel.State.TRANSFERRED:
            my_log.info(f"transferred to {application_parameters}")
            state = await channel.wait_for_transferred_call_retrieval()
        else:
            my_log.warning(f"could not transfer the call, reason is {channel.transfer_cause()} ({other_call.cause()})")

        if state == channel.State.ANSWERED:  # the target has hung up, or could not be reached
            await channel.FilePlayer.play("goodbye.wav")
        await channel.hang_up()
        return 0
    except Hangup:
        my_log.info("the caller has hung up")
        return 0
