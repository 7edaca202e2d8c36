"""The work of the tasks `ingest` and `assemble`: from uploads to a plan, from segments to a video. Knows no Celery.

Both may run twice, or be killed at any point and run again: every file is put in place by renaming and has the same
content each time, and the job's state decides whether anything is left to do.
"""

import hashlib
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.records import RESULT, SPEECH, Records, segment_path
from shared.artifacts import ArtifactStore
from shared.bundles import Bundle, load_bundle
from shared.jobs import JobStore
from shared.media.audio import SHORT_SAMPLES, Level, decode_speech, measure_level
from shared.media.video import assemble
from shared.metrics import realtime_speed
from shared.protocol import JobOptions, JobState, Manifest, artifact_path
from shared.timeline import FPS, frame_count

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ControlContext:
    """What tasks work with, opened once per process."""

    jobs: JobStore
    artifacts: ArtifactStore
    records: Records
    max_audio_s: float
    max_tries: int
    bundle_file: str = ""


def ingest_job(context: ControlContext, job_id: str) -> None:
    """Decode a job's speech, measure it, and make the job ready.

    Raises:
        InputError: the sound cannot be decoded or is too long.
        DependencyError: Redis or the artifacts are away.
    """
    if not context.jobs.begin_ingest(job_id):
        return
    manifest = context.records.read_manifest(job_id)
    with (
        context.records.attempt(job_id, "ingest", context.max_tries),
        context.artifacts.local(artifact_path(job_id, manifest.audio_file)) as path,
    ):
        speech = decode_speech(path, context.max_audio_s)
    level, bundle = measure_level(speech), load_bundle(manifest.bundle, context.bundle_file)
    context.artifacts.write(artifact_path(job_id, SPEECH), speech.astype("<i2").tobytes())
    n_frames = frame_count(len(speech))
    digest = portrait_digest(context.artifacts, manifest, bundle)
    warnings = sound_warnings(level, len(speech))
    context.jobs.ready(job_id, n_frames, level.gain, digest, bundle.geometry.hop, warnings)
    log.info("job.ingested", job_id=job_id, n_frames=n_frames, gain=round(level.gain, 3))


def assemble_job(context: ControlContext, job_id: str) -> None:
    """Join the segments of a finalizing job, add the sound and end the job."""
    if not context.jobs.begin_assemble(job_id):
        return
    record = context.jobs.get(job_id)
    result = artifact_path(job_id, RESULT)
    if not context.artifacts.exists(result):
        manifest = context.records.read_manifest(job_id)
        with context.records.attempt(job_id, "assemble", context.max_tries), ExitStack() as files:
            segments: list[Path] = [
                files.enter_context(context.artifacts.local(segment_path(job_id, window)))
                for window in range(record.n_windows)
            ]
            sound = files.enter_context(context.artifacts.local(artifact_path(job_id, manifest.audio_file)))
            assemble(segments, sound, record.n_frames, files.enter_context(context.artifacts.writing(result)))
    if context.jobs.finish(job_id, JobState.SUCCEEDED):
        # Only one of several runs of this task ends the job, and it alone counts.
        realtime_speed.observe(record.n_frames / FPS / max(time.time() - record.created, 1e-3))
    close_record(context, job_id)
    log.info("job.assembled", job_id=job_id, n_frames=record.n_frames)


def close_record(context: ControlContext, job_id: str) -> None:
    """Write the end of an ended job to the artifacts."""
    record = context.jobs.get(job_id)
    if record.state.is_final:
        context.records.close(job_id, record.state, {"error": record.error, "n_frames": record.n_frames})


def portrait_digest(artifacts: ArtifactStore, manifest: Manifest, bundle: Bundle) -> str:
    """Name of the appearance a portrait will have: equal bytes, weights and crop give the same one."""
    digest = hashlib.sha256(artifacts.read_bytes(artifact_path(manifest.job_id, manifest.portrait_file)))
    digest.update(_crop_facts(bundle, manifest.options))
    return digest.hexdigest()


def sound_warnings(level: Level, n_samples: int) -> list[str]:
    """What is odd about the sound, for the person who sent it."""
    found = []
    if level.is_silent:
        found.append("The sound is silent; the mouth will stay closed.")
    if level.is_clipped:
        found.append("The sound is clipped; recorded more quietly it gives better lips.")
    if n_samples < SHORT_SAMPLES:
        found.append("The sound is shorter than 40 ms; the video has one frame.")
    return found


def _crop_facts(bundle: Bundle, options: JobOptions) -> bytes:
    return f"|{bundle.name}|{bundle.version}|{options.output}".encode()
