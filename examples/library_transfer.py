"""Places a call from a script, without a server, and transfers it: python examples/library_transfer.py CALL_TO TARGET.

For two phones on this machine:

    python examples/library_transfer.py sip:alice@127.0.0.1:5070 "sip:3301@127.0.0.1:5080;user=phone"
"""

import sys

from telephony import Telephony, TelephonyError, TonePlayer


def main(call_to, target):
    """Call somebody, connect them to the target, and wait until the target has hung up."""
    with Telephony(listen="udp:127.0.0.1:0") as phone:  # leaving releases every call
        channel, other_call = phone.channel(), phone.channel()
        if channel.call(call_to, seconds_timeout=60) != channel.State.ANSWERED:
            print(f"could not call {call_to}, reason is {channel.cause()}")
            return 1
        TonePlayer(channel)  # what the called party hears while the target rings
        state = channel.retrievable_transfer(other_call, target, seconds_timeout=60)
        if state != channel.State.TRANSFERRED:
            print(f"could not transfer the call, reason is {channel.transfer_cause()}")
            return 1
        print(f"{call_to} and {target} are talking")
        state = channel.wait_for_transferred_call_retrieval()
        print("the call is back" if state == channel.State.ANSWERED else f"the call is over, {channel.cause()}")
        return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        sys.exit(main(*sys.argv[1:]))
    except TelephonyError as error:
        sys.exit(f"{error}")
