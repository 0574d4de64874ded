"""What happened on the wire, kept and shown: events and the message ladder.

Owns: the records that traces are made of and how they are drawn. Must not know how messages are parsed, sent or
answered: a trace shows what passed, also what nobody could parse.
"""
