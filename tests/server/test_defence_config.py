"""telephony.toml: what strangers may cost, and whom services may call (``[limits]``, ``[[service]]``)."""

from __future__ import annotations

from telephony.server.service import exchange_for
from telephony.sip.defence import Limits
from telephony.testing.network import SimulatedNetwork

from .test_config import SERVICE, ConfigurationCase


class DefenceConfigurationTests(ConfigurationCase):
    def test_defaults(self) -> None:
        """Every key has a default: limits for strangers, and every number and address may be called."""
        found = self.load(SERVICE)
        self.assertEqual(found.limits.of_strangers(), Limits(20, 500, 10, 600, 0.2))
        self.assertEqual(found.limits.collector, "governed")
        (service,) = found.services
        self.assertEqual((service.allow_dial, service.deny_dial, service.max_outbound), (None, (), None))

    def test_given(self) -> None:
        """What is written is what the exchange keeps to."""
        found = self.load(
            "[limits]\nsource_requests_per_second = 5\nrequests_per_second = 50\nban_after = 0\nban_seconds = 30\n"
            'new_call_seconds = 0.1\ncollector = "python"\n'
            + SERVICE
            + 'allow_dial = ["+49*", "sip:*@example.org"]\ndeny_dial = ["+49900*"]\nmax_outbound = 3\n'
        )
        (service,) = found.services
        self.assertEqual(service.allow_dial, ("+49*", "sip:*@example.org"))
        self.assertEqual((service.deny_dial, service.max_outbound), (("+49900*",), 3))
        network = SimulatedNetwork(1)
        exchange = exchange_for(network.host("10.0.0.1"), found)
        self.assertEqual(exchange.user_agent.defence.limits, Limits(5, 50, 0, 30, 0.1))
        self.assertEqual(exchange.user_agent.entrance.admission.patience, 0.1)
        network.run_until(exchange.close())

    def test_bad(self) -> None:
        """api.md 7: every mistake at once, by its key, with what is allowed."""
        found = self.problems(
            "[limits]\nsource_requests_per_second = 0\nban_after = -1\nban_seconds = 0\n"
            'new_call_seconds = 11\ncollector = "off"\n'
            + SERVICE
            + 'allow_dial = "+49*"\ndeny_dial = ["+49*", "example.org", 49]\nmax_outbound = -1\n'
        )
        self.assertEqual(
            set(found),
            {
                "limits.source_requests_per_second",
                "limits.ban_after",
                "limits.ban_seconds",
                "limits.new_call_seconds",
                "limits.collector",
                "service[0].allow_dial",
                "service[0].deny_dial[1]",
                "service[0].deny_dial[2]",
                "service[0].max_outbound",
            },
        )
        self.assertIn("is no list of patterns", found["service[0].allow_dial"])
        self.assertIn("'sip:*@example.org' for addresses", found["service[0].deny_dial[1]"])
