"""The verbs as asyncio futures (api.md section 1), on event loops of their own processes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from .test_blocking import run_script

PRELUDE = """
    import asyncio
    from telephony import aio, Hangup, Error, TonePlayer
    def uri(phone, user="1"):
        return f"sip:{user}@127.0.0.1:{phone.listening[0][1]}"
"""


class AioTests(SynchronousTestCase):
    """Each test is an asyncio program."""

    def run_main(self, text: str) -> list[str]:
        done = run_script(PRELUDE + text + "\n    asyncio.run(main())\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.splitlines()

    def test_call(self) -> None:
        """api.md 1: the same verbs, as futures; the process ends when the program does."""
        printed = self.run_main("""
    async def main():
        async with aio.Telephony(media_directory="examples/media") as phone, aio.Telephony() as far:
            async def serve(channel):
                await channel.answer()
                print("digits", await channel.DTMFDetector.get_digits(count=1, seconds_predigits_timeout=30))
            far.serve("33*", serve)
            channel = phone.channel()
            print(await channel.call(uri(far, "3300")))
            await channel.DTMFPlayer.play("7")
            print(await channel.wait_for_idle(30), channel.cause())
            try:
                await channel.FilePlayer.play("greeting.wav")
            except Hangup:
                print("Hangup")
            try:
                await channel.call("nonsense")
            except Error as error:
                print("nonsense" in str(error))
        """)
        self.assertEqual(printed, ["ANSWERED", "digits 7", "IDLE NORMAL", "Hangup", "True"])

    def test_transfer_and_wait_for_call(self) -> None:
        """api.md 5: retrievable_transfer takes facades; TonePlayer(channel) makes the channel's own kind."""
        printed = self.run_main("""
    async def main():
        async with aio.Telephony() as phone, aio.Telephony() as far:
            channel, other_call = phone.channel(), phone.channel()
            call = asyncio.ensure_future(far.wait_for_call())
            answered = asyncio.ensure_future(channel.call(uri(far)))
            await (await call).answer()
            print(await answered)
            print(type(TonePlayer(channel)).__name__, channel.TonePlayer is not None)
            transferred = channel.retrievable_transfer(other_call, uri(far))
            target = await far.wait_for_call("*", 30)
            await target.answer()
            print(await transferred, other_call.state())
            await target.hang_up()
            print(await channel.wait_for_transferred_call_retrieval(30))
            print(await far.wait_for_call("*", 0))
        """)
        self.assertEqual(printed, ["ANSWERED", "AioTonePlayer True", "TRANSFERRED ANSWERED", "ANSWERED", "None"])

    def test_cancel(self) -> None:
        """Cancelling the future cancels the verb, with its meaning on the wire (architecture.md rule 4)."""
        printed = self.run_main("""
    async def main():
        async with aio.Telephony() as phone, aio.Telephony() as far:
            channel = phone.channel()
            placing = asyncio.ensure_future(channel.call(uri(far)))
            call = await far.wait_for_call()
            await call.ring()
            placing.cancel()
            print(await call.wait_for_idle(30), call.cause(), channel.state())
        """)
        self.assertEqual(printed, ["IDLE NOANSWER IDLE"])

    def test_served_function_raises(self) -> None:
        """A function that raises is logged, and its call released."""
        done = run_script(
            PRELUDE
            + """
    async def main():
        async with aio.Telephony() as phone, aio.Telephony() as far:
            async def serve(channel):
                await channel.answer()
                raise ZeroDivisionError
            far.serve("*", serve)
            channel = phone.channel()
            await channel.call(uri(far))
            print(await channel.wait_for_idle(30))
    asyncio.run(main())
        """
        )
        self.assertEqual((done.returncode, done.stdout), (0, "IDLE\n"))
        self.assertIn("ZeroDivisionError", done.stderr)

    def test_no_event_loop(self) -> None:
        """Without a running event loop, or with a reactor of another kind, the sentence says what to do."""
        done = run_script("""
            import asyncio
            from telephony import aio, Error
            try:
                aio.Telephony()
            except Error as error:
                print(error)
            from twisted.internet import reactor
            async def main():
                try:
                    aio.Telephony()
                except Error as error:
                    print(error)
            asyncio.run(main())
        """)
        first, second = done.stdout.splitlines()
        self.assertIn("inside a coroutine", first)
        self.assertIn("reactor already", second)
