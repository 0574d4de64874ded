"""How many files a server may have open, and what is left for connections (issue 4: limits of streams)."""

from __future__ import annotations

import resource

from twisted.trial.unittest import SynchronousTestCase

from telephony.server.descriptors import FEWEST, OTHERS, most_connections, raise_limit, too_few


class DescriptorTests(SynchronousTestCase):
    def test_left_for_connections(self) -> None:
        """Two files a leg come first; what is left is for connections, and some there are always."""
        self.assertEqual(most_connections(10_000, 3000), 10_000 - OTHERS - 6000)
        self.assertEqual(most_connections(10_000, 1000), 10_000 - OTHERS - 5000)
        self.assertEqual(most_connections(1024, 4000), FEWEST)
        self.assertGreater(most_connections(-1, 1000), 100_000)

    def test_warning(self) -> None:
        """A sentence that names the key, what it needs and what there is."""
        self.assertEqual(too_few(10_000, 1000), "")
        self.assertEqual(too_few(-1, 1000), "")
        self.assertRegex(too_few(1024, 1000), "limits.max_calls needs 2192 open files.* 1024")

    def test_raised(self) -> None:
        """The soft limit is raised to the hard one."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        self.assertEqual(raise_limit(), before[1])
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE)[0], before[1])
