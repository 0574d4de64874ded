"""``FilePlayer`` and ``FileRecorder``: audio files played to and recorded from a call (``api.md`` section 6).

Owns: the jobs, their arguments and causes. Must not know how files are decoded, written or paced (`telephony.media`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from telephony.call.resources.job import Job, JobCause, JobState
from telephony.call.verbs import check_seconds, open_verb
from telephony.errors import Error
from telephony.media.files import FILE_FORMATS, resolve_media_name
from telephony.media.players import AudioSource, Clip
from telephony.media.recorders import Recorder, RecordingEnd

if TYPE_CHECKING:
    from telephony.call.core import ChannelCore


class FilePlayer(Job):
    """Plays files of the media directory."""

    __slots__ = ("_decoding",)

    name: ClassVar[str] = "a file being played"

    def __init__(self, channel: ChannelCore) -> None:
        super().__init__(channel)
        self._decoding: Deferred[None] | None = None

    @open_verb
    def play(self, filename: str, barge_in: bool = False, seconds_timeout: float | None = None) -> Deferred[JobCause]:
        """Play a file to its end; fires with the cause.

        NORMAL at its end, BARGEIN at a key press where ``barge_in`` allows it, TIMEOUT, ABORTED by `stop`, HANGUP.
        Fails with `Error` for a name that isn't allowed, a missing file, or one without audio that can be decoded.
        """
        self._start("FilePlayer.play()", filename, barge_in, seconds_timeout)
        return self._outcome()

    @open_verb
    def start(self, filename: str, barge_in: bool = False, seconds_timeout: float | None = None) -> Deferred[JobState]:
        """Begin to play a file; fires at once. A file without audio ends the job with cause ERROR."""
        self._start("FilePlayer.start()", filename, barge_in, seconds_timeout)
        return succeed(self.state())

    @open_verb
    def say(self, text: str, barge_in: bool = False, seconds_timeout: float | None = None) -> Deferred[JobCause]:
        """Speech synthesis is not built yet: always an `Error`."""
        raise Error("say() is not built yet; FilePlayer.play() plays audio files")

    @open_verb
    def start_say(self, text: str, barge_in: bool = False, seconds_timeout: float | None = None) -> Deferred[JobState]:
        """Speech synthesis is not built yet: always an `Error`."""
        raise Error("start_say() is not built yet; FilePlayer.start() plays audio files")

    def _start(self, name: str, filename: str, barge_in: bool, seconds: float | None) -> None:
        check_seconds("seconds_timeout", seconds)
        exchange = self._channel.exchange
        path = resolve_media_name(exchange.media_directory, filename)
        if not path.is_file():
            where = exchange.media_directory.absolute()
            raise Error(f"{name}: there is no file {filename!r} in the media directory {where}")
        self._channel.require_media(name, transmits=True)
        self._check_free(name)
        try:
            clip = exchange.prompts.get(path)
        except OSError as error:  # it has gone since the look at it
            raise Error(f"{name}: file {filename!r} can't be read: {error}") from error
        self._begin(barge_in, seconds)
        decoding = clip.addCallbacks(self._decoded, self._undecodable)
        if not decoding.called:
            self._decoding = decoding

    def _decoded(self, clip: Clip) -> None:
        self._decoding = None
        leg = self._channel.leg
        if self._active and leg is not None and leg.endpoint is not None:
            leg.endpoint.play(AudioSource(clip), self._played)

    def _undecodable(self, failure: Failure) -> None:
        self._decoding = None
        self._finish(JobCause.ERROR, Error(f"FilePlayer: {failure.getErrorMessage()}"))

    def _played(self) -> None:
        self._finish(JobCause.NORMAL)

    def _stop_audio(self) -> Deferred[None] | None:
        decoding, self._decoding = self._decoding, None
        if decoding is not None:
            decoding.addErrback(lambda _given_up: None)
            decoding.cancel()
        return super()._stop_audio()


class FileRecorder(Job):
    """Records what the far end says into a file of the media directory."""

    __slots__ = ("_heard", "_recorder")

    name: ClassVar[str] = "a recording"
    transmits: ClassVar[bool] = False

    def __init__(self, channel: ChannelCore) -> None:
        super().__init__(channel)
        self._recorder: Recorder | None = None
        self._heard = False

    @open_verb
    def record(
        self,
        filename: str,
        file_format: str = "alaw",
        rate: int = 8000,
        seconds_timeout: float | None = None,
        max_bytes: int = 0,
        milliseconds_max_silence: int = 0,
        milliseconds_initial_silence: int = 0,
        dtmf_elim: bool = True,
        barge_in: bool = False,
    ) -> Deferred[JobCause]:
        """Record until a limit; fires with the cause, when the file is complete.

        BARGEIN at a key press where ``barge_in`` allows it, SILENCE after ``milliseconds_max_silence`` of it (or
        ``milliseconds_initial_silence`` before anything was said; 0: no limit), SIZE at ``max_bytes`` (0: no limit),
        TIMEOUT, ABORTED by `stop`, HANGUP. Fails with `Error` for a bad argument or a file that can't be written.
        """
        self._start(
            "FileRecorder.record()",
            filename,
            file_format,
            rate,
            seconds_timeout,
            max_bytes,
            milliseconds_max_silence,
            milliseconds_initial_silence,
            dtmf_elim,
            barge_in,
        )
        return self._outcome()

    @open_verb
    def start(
        self,
        filename: str,
        file_format: str = "alaw",
        rate: int = 8000,
        seconds_timeout: float | None = None,
        max_bytes: int = 0,
        milliseconds_max_silence: int = 0,
        milliseconds_initial_silence: int = 0,
        dtmf_elim: bool = True,
        barge_in: bool = False,
    ) -> Deferred[JobState]:
        """Begin to record; fires at once."""
        self._start(
            "FileRecorder.start()",
            filename,
            file_format,
            rate,
            seconds_timeout,
            max_bytes,
            milliseconds_max_silence,
            milliseconds_initial_silence,
            dtmf_elim,
            barge_in,
        )
        return succeed(self.state())

    @open_verb
    def stop(self) -> Deferred[JobCause]:
        """End the recording (ABORTED); fires with the cause when the file is complete. Harmless when none runs."""
        if not self._active:
            return succeed(self._cause)
        complete = self._wait(None, stop_on_cancel=False)
        self._finish(JobCause.ABORTED)
        return complete

    def audio_detected_in_recording(self) -> bool:
        """Tell whether anything louder than silence is in the last recording, or in the running one so far."""
        return self._heard if self._recorder is None else self._recorder.heard_audio

    def _start(
        self,
        name: str,
        filename: str,
        file_format: str,
        rate: int,
        seconds: float | None,
        max_bytes: int,
        max_silence: int,
        initial_silence: int,
        dtmf_elim: bool,
        barge_in: bool,
    ) -> None:
        check_seconds("seconds_timeout", seconds)
        if file_format not in FILE_FORMATS:
            raise Error(f"file_format={file_format!r} can't be recorded; allowed are {', '.join(FILE_FORMATS)}")
        if rate != 8000:
            raise Error(f"rate={rate!r} can't be recorded yet; allowed is 8000, the rate of the call")
        for argument, value in (
            ("max_bytes", max_bytes),
            ("milliseconds_max_silence", max_silence),
            ("milliseconds_initial_silence", initial_silence),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise Error(f"{argument}={value!r} is no limit; give a whole number, 0 for no limit")
        exchange = self._channel.exchange
        path = resolve_media_name(exchange.media_directory, filename)
        leg = self._channel.require_media(name, transmits=False)
        self._check_free(name)
        assert leg.endpoint is not None
        self._recorder = Recorder(
            exchange.host,
            path,
            file_format=file_format,
            max_bytes=max_bytes,
            milliseconds_max_silence=max_silence,
            milliseconds_initial_silence=initial_silence,
            dtmf_elim=dtmf_elim,
            reached=self._reached,
        )
        self._begin(barge_in, seconds)
        leg.endpoint.listen(self._recorder)

    def _reached(self, end: RecordingEnd) -> None:
        self._finish(JobCause(end.value))

    def _stop_audio(self) -> Deferred[None] | None:
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return None
        leg = self._channel.leg
        if leg is not None and leg.endpoint is not None:
            leg.endpoint.unlisten(recorder)
        self._heard = recorder.heard_audio
        return recorder.close()
