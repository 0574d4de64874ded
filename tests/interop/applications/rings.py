"""Rings with early media, answers, says goodbye and hangs up."""

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Take the call."""
    channel.ring(1, negotiate_early_media=True)
    channel.answer()
    channel.FilePlayer.play("goodbye.wav")
    channel.hang_up()
    return 0
