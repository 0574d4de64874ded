"""Blocking, on something that is no verb: nobody will ever put anything into this queue."""

import queue

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Return after a second at the latest, unless the queue is asked for more."""
    channel.answer()
    waiting = queue.Queue()
    try:
        waiting.get(timeout=1.0)
    except queue.Empty:
        return 0
