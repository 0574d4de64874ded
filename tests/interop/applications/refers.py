"""Hands its caller on by REFER; application_parameters is JSON.

``to`` is where to, ``attended`` whether to call there first, ``outcome`` the file that gets what came of it.
"""

import json
from pathlib import Path

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Take the call and let go of it."""
    asked = json.loads(application_parameters)
    channel.answer()
    if asked["attended"]:
        other = channel.ExtraChannel[0]
        other.call(asked["to"])
        state = channel.attended_transfer(other, seconds_timeout=20)
        told = f"{state} {other.state()} {channel.transfer_cause()}"
    else:
        state = channel.blind_transfer(asked["to"], seconds_timeout=20)
        told = f"{state} {channel.transfer_cause()} {channel.Details.raw_cause}"
    Path(asked["outcome"]).write_text(told)
    channel.hang_up()
    return 0
