"""Outbound and blocking: calls who is to be reminded."""

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters, outbound_parameters):
    """Return 0 when somebody answered, else -100."""
    if channel.call(outbound_parameters, seconds_timeout=20) != channel.State.ANSWERED:
        return -100
    channel.hang_up()
    return 0
