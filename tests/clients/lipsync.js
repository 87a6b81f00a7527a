/**
 * Audio and video of one participant stay in sync although the audio is buffered for long: a Chromium with a raised
 * jitterBufferTarget receives from another Chromium and reads the estimatedPlayoutTimestamp of both tracks. Then the
 * same m-lines carry another participant. See run.sh.
 */
import { sleep, until } from '../browser/rig/wait.js';
import { Checks } from './rig/checks.js';
import { median, rounded } from './rig/figures.js';
import { onStage } from './rig/stage.js';

const ROOM = 'lipsync';
const JITTER_TARGET_MS = 900;
/** Audio counts as buffered when its jitter buffer has reached this share of the target. */
const BUFFERED_FROM = 0.8;
const PLAY_WITHIN_MS = 30_000;
/** Time for Chromium to align audio and video in small steps. */
const SETTLE_WITHIN_MS = 45_000;
/** Number of latest readings, five per second, that are averaged. */
const READINGS = 15;
const MAX_APART_MS = 120;

const checks = new Checks();
const figures = {};
try {
  await onStage(async (stage) => {
    const viewer = await stage.join({ kind: 'chromium', room: ROOM, jitter_target_ms: JITTER_TARGET_MS });
    await viewer.first('joining', PLAY_WITHIN_MS);
    figures.first = await watch(stage, viewer, 'first publisher');
    figures.again = await watch(stage, viewer, 'second publisher, same m-lines');
    const mids = ({ mids: of }) => JSON.stringify(of);
    checks.expect(mids(figures.first) === mids(figures.again), 'm-lines that are used again', mids(figures.again), mids(figures.first));
  });
} catch (error) {
  checks.expect(false, 'the suite', error.message, 'no error');
}
process.exit(checks.report('lipsync', figures));

/** A participant publishes, is viewed until audio and video are in sync, and leaves. */
async function watch(stage, viewer, who) {
  const publisher = await stage.join({ kind: 'chromium', room: ROOM, publish: 'vp8' });
  const tracks = (await publisher.tracks()) ?? new Map();
  const readings = (kind) => viewer.all('playout', tracks.get(kind)).filter(({ behind_ms: behind }) => behind !== null);
  const recent = (kind, field) => median(readings(kind).slice(-READINGS).map((each) => each[field]));
  const hasBoth = () => ['audio', 'video'].every((kind) => readings(kind).length >= READINGS);
  const isThere = await until(hasBoth, 'readings', PLAY_WITHIN_MS).catch(() => false);
  checks.expect(isThere, `${who}: readings of estimatedPlayoutTimestamp`, `${readings('audio').length} of audio, ${readings('video').length} of video`, `${READINGS} each`, `Chromium tells it of tracks that it plays in sync only; ${viewer.trouble}`);
  if (!isThere) return { apart_ms: null, buffered_ms: null, settled_s: null, mids: null };
  const startMs = Date.now();
  const isBuffered = () => recent('audio', 'jitter_ms') >= JITTER_TARGET_MS * BUFFERED_FROM;
  // Delay of the audio relative to the video, in ms; positive: the video is early.
  const apart = () => recent('audio', 'behind_ms') - recent('video', 'behind_ms');
  await until(() => isBuffered() && Math.abs(apart()) < MAX_APART_MS, 'both to be together', SETTLE_WITHIN_MS).catch(() => {});
  const settledS = (Date.now() - startMs) / 1_000;
  // Check that they stay in sync.
  const count = readings('audio').length + READINGS;
  await until(() => readings('audio').length >= count, 'more readings', PLAY_WITHIN_MS).catch(() => {});
  checks.expect(isBuffered(), `${who}: audio is buffered`, `${rounded(recent('audio', 'jitter_ms'))} ms`, `at least ${JITTER_TARGET_MS * BUFFERED_FROM} ms`);
  checks.expect(Math.abs(apart()) < MAX_APART_MS, `${who}: video early against audio`, `${rounded(apart())} ms`, `under ${MAX_APART_MS} ms either way`, `after ${rounded(settledS)} s`);
  const result = {
    apart_ms: rounded(apart()),
    buffered_ms: rounded(recent('audio', 'jitter_ms')),
    settled_s: rounded(settledS, 1),
    mids: Object.fromEntries(['audio', 'video'].map((kind) => [kind, readings(kind).at(-1).mid])),
  };
  console.log(`${who}: video ${result.apart_ms} ms early against audio, whose buffer is ${result.buffered_ms} ms long, after ${result.settled_s} s`);
  await publisher.leave();
  await sleep(500); // changes within 200 ms would be one offer
  return result;
}
