"""Does what examples/retrievable_transfer.py does, and writes down what each verb returned and what was readable then.

application_parameters is JSON: ``target``; ``seconds_timeout`` of the transfer; ``greeting`` (a file, "" for none);
``outcome``, the file that gets one line of JSON a step.
"""

import json
from pathlib import Path

from telephony import Hangup, TonePlayer

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Answer, greet, transfer, wait for the caller to come back, say goodbye, hang up."""
    asked = json.loads(application_parameters)
    other_call = channel.ExtraChannel[0]

    def note(step, returned):
        line = {
            "step": step,
            "returned": str(returned),
            "state": str(channel.state()),
            "cause": str(channel.cause()),
            "transfer_cause": str(channel.transfer_cause()),
            "other_state": str(other_call.state()),
            "other_cause": str(other_call.cause()),
            "raw_cause": other_call.Details.raw_cause,
            "raw_reason": other_call.Details.raw_reason,
        }
        with Path(asked["outcome"]).open("a") as file:
            file.write(json.dumps(line) + "\n")

    try:
        note("answer", channel.answer())
        if asked["greeting"]:
            note("greeting", channel.FilePlayer.play(asked["greeting"]))
        TonePlayer(channel)
        state = channel.retrievable_transfer(
            other_call,
            call_to=asked["target"],
            call_from=channel.Details.call_from,
            seconds_timeout=asked["seconds_timeout"],
        )
        note("transfer", state)
        if state is channel.State.TRANSFERRED:
            state = channel.wait_for_transferred_call_retrieval()
            note("retrieval", state)
        if state is channel.State.ANSWERED:
            note("goodbye", channel.FilePlayer.play("goodbye.wav"))
        note("end", channel.hang_up())
    except Hangup as error:
        note("hangup", error)
    return 0
