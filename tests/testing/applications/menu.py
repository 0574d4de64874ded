"""Blocking: asks for a digit, sleeps on it, and transfers to the address that it has as its parameter."""

import time

from telephony import TonePlayer

__uas_identify__ = "application"
__uas_version__ = "2.0"


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    """Return the digit that was pressed."""
    channel.answer()
    began = time.monotonic()
    digit = channel.DTMFDetector.get_digits(count=1, seconds_predigits_timeout=10)
    my_log.info(f"pressed {digit} after {time.monotonic() - began:.1f} s")
    time.sleep(1.5)
    if digit == "0":
        raise ZeroDivisionError("nobody is at zero")
    if digit == "9":
        time.sleep(3600)
    if application_parameters and channel.ExtraChannel:
        TonePlayer(channel)
        channel.retrievable_transfer(channel.ExtraChannel[0], application_parameters)
        channel.wait_for_idle()
    channel.hang_up()
    return int(digit or -1)
