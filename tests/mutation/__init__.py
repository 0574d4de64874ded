"""Do the tests notice? Mutants of ``sip``, ``sdp`` and ``call``, and rules taken out, each against its own tests.

Run it from the root of the tree::

    python -m tests.mutation --mutants 600 --seed 20261122
    python -m tests.mutation --mutants 50 --seed 7 --package sdp
    python -m tests.mutation --rules
    python -m tests.mutation --rules --row R9 --everywhere

A *site* is one place in the source together with one change to it (`tests.mutation.sites` lists the operators): a
comparison's bound moved, a condition turned round, an ``and`` made an ``or``, a constant one off, a statement, an entry
of a table, an argument or an output of a state machine left out, another member of an enumeration, ``None`` returned,
an ``except`` that raises again. ``--mutants`` many of them are drawn without repetition by ``--seed``: each sub-package
gets its share of them by its share of all sites, and within it every site has the same chance.

What is no site, because it has no behaviour that a test ought to hold fast: annotations, type aliases and what stands
under ``TYPE_CHECKING``; docstrings, protocol classes, ``__slots__``, ``__repr__`` and decorators; ``assert`` (here they
only tell mypy what is known); log calls; and wordings, by which is meant the text of an exception, a string of two or
more words, a verb's name as it stands in a sentence, and the table of reason phrases.

*Its own tests* are those that mirror the sub-package (``tests/sip`` for ``telephony/sip``), the walk over the tables,
the table of races with its three seeds, and the models of calls with few examples; not the interop tests, the test
kit's own or the server's. A test with hypothesis draws the same examples every time here.

How it is quick: one pass of all these tests under a tracer notes which test reaches which lines. A mutant then runs
only the tests that reach its statement, quickest first, and stops at the first that fails. A statement that runs when
its module is imported (a table, a constant) counts as reached by all, and so does one that none reaches. Everything
happens in a copy of the tree, in a process forked for each mutant from one that has imported all libraries, but nothing
of ours: what it imports is mutated then. A test that takes many times the CPU time it takes otherwise is stopped, and
the mutant counts as killed by time-out.

A survivor is a missing test, or it is equivalent: then ``equivalent.toml`` has it, with the reason, and the run says
so. The run's status is 0 when no other survivor is left.

``--rules`` takes out the rules of `tests.mutation.races` one at a time, at least one for each row of the table of races
(``--row R9``: only that row's), and lists which of the row's own tests fail for it: those that have the row in their
names, like ``test_r9_bye_glare``. Its status is 0 when each rule of each row has one. With ``--everywhere`` it lists
every other test that fails too, which takes an hour.
"""
