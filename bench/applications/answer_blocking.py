"""Rings, answers, and stays until the caller hangs up, in a thread: ``answer.py``, blocking."""

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Take the call."""
    channel.ring()
    channel.answer()
    channel.wait_for_idle()
    return 0
