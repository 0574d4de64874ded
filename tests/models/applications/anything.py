"""Blocking: does what a seed says, as its parameter has it: seed, then an address to transfer to."""

import random
import time

from telephony import Error, Hangup, TonePlayer
from telephony.media.tones import PredefinedTones

__uas_identify__ = "application"
__uas_version__ = "1.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Return how many steps it came."""
    seed, target = application_parameters.split(" ")
    chance = random.Random(f"{seed} {application_instance_id}")
    steps = 0
    try:
        if chance.random() < 0.2:
            channel.ring()
            time.sleep(chance.random())
        channel.answer()
        tones = TonePlayer(channel)
        while channel.state() == channel.State.ANSWERED and steps < 6:
            steps += 1
            step = chance.randrange(5)
            if step == 0:
                channel.DTMFDetector.get_digits(count=1, seconds_predigits_timeout=chance.random())
            elif step == 1:
                channel.DTMFPlayer.play(str(chance.randrange(100)))
            elif step == 2:
                until = time.monotonic() + chance.random()
                while time.monotonic() < until:
                    time.sleep(0.05)
            elif step == 3:
                tones.start(PredefinedTones.BUSY)
                time.sleep(chance.random())
                tones.stop()
            else:
                other = channel.ExtraChannel[0]
                channel.retrievable_transfer(other, target, seconds_timeout=2)
                time.sleep(chance.random() * 2)
                other.hang_up()
        channel.hang_up()
    except (Hangup, Error):
        pass
    return steps
