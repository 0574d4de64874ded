"""Returns a Deferred, and says so only by doing it: waits until the caller goes."""

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters) -> "Deferred[int]":  # noqa: F821
    """Return 8."""
    return channel.answer().addCallback(lambda _: channel.wait_for_idle()).addCallback(lambda _: 8)
