"""Says back what the caller says, a few seconds at a time, until the caller hangs up or presses a key."""

from telephony import Hangup

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Run once for each call, in a thread of its own: every verb blocks."""
    recorded = []
    try:
        channel.answer()
        my_log.info(f"echo for {channel.Details.call_from}")
        while channel.state() == channel.State.ANSWERED:
            name = f"echo-{application_instance_id}-{len(recorded)}.wav"
            recorded.append(name)
            channel.FileRecorder.record(name, seconds_timeout=10, milliseconds_max_silence=1000, barge_in=True)
            if channel.FileRecorder.audio_detected_in_recording():
                channel.FilePlayer.play(name, barge_in=True)
            if channel.DTMFDetector.get_digits():
                break
        channel.hang_up()
    except Hangup:
        my_log.info("the caller has hung up")
    finally:
        for name in recorded:
            file_man.delete_file(name)
    return 0
