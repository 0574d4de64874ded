"""Media resources of a channel (``api.md`` section 6): jobs that play, record and detect on its call's leg.

`job` has what they share; each of the others is one resource.
"""

from telephony.call.resources.digits import DTMFDetector, DTMFPlayer
from telephony.call.resources.files import FilePlayer, FileRecorder
from telephony.call.resources.job import Job, JobCause, JobState
from telephony.call.resources.tones import TonePlayer

__all__ = [
    "DTMFDetector",
    "DTMFPlayer",
    "FilePlayer",
    "FileRecorder",
    "Job",
    "JobCause",
    "JobState",
    "TonePlayer",
]
