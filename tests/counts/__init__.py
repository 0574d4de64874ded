"""What the hot paths cost in machine instructions: a guard against growing slow that no busy machine can disturb.

``python -m tests.counts`` runs each workload of `tests.counts.workloads` under callgrind and prints how many
instructions one unit of it takes, beside what ``recorded.toml`` holds; ``--record`` writes the new figures there, which
is done when a change is meant, and shown in its commit. ``test_counts`` fails where a count is more than five per cent
off, in either direction: what has become cheaper is recorded too, or it would be lost again unseen.

Instructions are counted, not seconds: the same program with the same hash seed executes the same ones on a busy machine
and on an idle one. They belong to one build of Python, though, and to one of numpy, which the record names; for another
build each count is taken relative to that of ``calibrate``, plain Python that is none of ours, and may be further off.
"""
