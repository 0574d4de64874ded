"""A peer can't make us raise: damaged messages at the door of a user agent that is in the middle of calls."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.message import Message, respond
from tests.sip.fakes import ANSWER, BOB, US, World

#: What is put in: the characters that SIP's grammar turns on, and values that don't fit.
PIECES = [
    *(b";", b"<", b">", b'"', b",", b"\r\n", b" ", b"%", b"@", b"[", b":", b"=", b"*", b"\x00", b"\xff", b"lr"),
    *(b"tag=", b"sip:", b"tel:1", b"99999999999", b"maddr=x.y", b"transport=tcp", b"transport=\xff", b"received="),
]


class Damage:
    """Changes messages in a few places."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def __call__(self, message: Message) -> bytes:
        data = bytearray(message.to_bytes())
        choose = self.random
        for _ in range(choose.randint(1, 4)):
            at = choose.randrange(len(data))
            kind = choose.randrange(4)
            if kind == 0:
                data[at] = choose.randrange(256)
            elif kind == 1:
                del data[at : at + choose.randint(1, 30)]
            elif kind == 2:
                data[at:at] = choose.choice(PIECES)
            else:
                other = choose.randrange(len(data))
                data[at:at] = data[other : other + choose.randint(1, 40)]
        return bytes(data)


class DamageTests(SynchronousTestCase):
    def test_in_the_middle_of_calls(self) -> None:
        """Architecture rule 3: no fault is logged, and nothing is left when the calls are over."""
        for seed in range(120):
            damaged = Damage(seed)
            world = World("udp", "tcp")
            world.welcome()
            receive = world.host.ports[US].received
            session = world.dial()
            invite = world.bob.one()
            answer = respond(invite, damaged.random.choice([180, 200, 200, 486]), to_tag="b")
            answer.set("Contact", "<sip:bob@192.0.2.2>")
            answer.add("Record-Route", "<sip:192.0.2.2;lr>, <sip:x.example.com;lr>")
            for _ in range(3):
                receive(damaged(answer), BOB)
            receive(damaged(world.bye(invite)), BOB)
            session.bye()
            call = world.request(Record_Route="<sip:192.0.2.2;lr>, <sip:x.example.com>")
            for _ in range(3):
                receive(damaged(call), BOB)
            for incoming in tuple(world.sessions):
                incoming.ring()
                incoming.answer(ANSWER)
                for cseq, method in enumerate(("ACK", "INVITE", "INFO", "BYE"), 1):
                    inside = world.request(method, to_tag=incoming.local_tag, cseq=cseq, call_id=incoming.call_id)
                    receive(damaged(inside), BOB)
            wire = world.host.connect((BOB[0], 40001))
            wire.send(damaged(call))
            for incoming in world.sessions:
                incoming.bye()
            if wire.open:
                wire.end()
            if wire.open:
                wire.end()  # as long as there is a connection, somebody looks whether its time is up
            self.assertEqual((world.agent.counters["faults"], world.leftovers()), (0, []), f"seed {seed}")
