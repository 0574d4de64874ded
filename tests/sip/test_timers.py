"""The values of the timers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.timers import Timers


class TimerTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """RFC 3261 table 4 and RFC 6026 8.11, with the default T1, T2 and T4."""
        timers = Timers()
        self.assertEqual((timers.t1, timers.t2, timers.t4, timers.lifetime), (0.5, 4.0, 5.0, 32.0))
        values = {name: getattr(timers, f"timer_{name}") for name in "abdefghijklm"}
        self.assertEqual(
            values,
            {
                "a": 0.5,
                "b": 32,
                "d": 32,
                "e": 0.5,
                "f": 32,
                "g": 0.5,
                "h": 32,
                "i": 5,
                "j": 32,
                "k": 5,
                "l": 32,
                "m": 32,
            },
        )
        self.assertGreater(timers.timer_c, 180)

    def test_others_follow(self) -> None:
        """RFC 3261 17.1.1.2: all but T2, T4, C and the 32 s of D follow T1."""
        timers = Timers(t1=1.0)
        self.assertEqual((timers.timer_b, timers.timer_d, timers.timer_l), (64, 64, 64))
        self.assertEqual(Timers(t1=0.1).timer_d, 32)

    def test_positive(self) -> None:
        """A time of nothing would make a timer spin."""
        self.assertRaises(ValueError, Timers, t1=0)
        self.assertRaises(ValueError, Timers, t2=-1)
