/** Keyframe requests that a late joiner causes, and the delay of its first picture after its first sound. */
import { sleep, until } from '../../browser/rig/wait.js';
import { median, rounded } from '../rig/figures.js';
import { printTable } from '../rig/table.js';

/** pion delays its DTLS, so that a keyframe request before DTLS is certain. */
const VIEWERS = { pion: { dtls_after_ms: 150 }, chromium: {} };
const JOINS = 20;
const PLAY_WITHIN_MS = 15_000;
/** A keyframe request this long after the first picture has another cause. */
const AFTERWARDS_MS = 1_000;
/** Time between the last keyframe and the next join, so that the keyframe is too old to be sent to the new viewer. */
const APART_MS = 1_000;
const MAX_REQUESTS = 1;
const MAX_VIDEO_AFTER_AUDIO_MS = 150;
/** The server's log has the time of DTLS; another thread writes it with some delay. */
const TOLERANCE_MS = 20;

/** @param {import('../rig/stage.js').Stage} stage */
export async function late(stage, checks, { kinds, only }) {
  const rows = [];
  const room = 'late';
  // Both report keyframe requests at once.
  const kind = kinds.includes('pion') ? 'pion' : 'aiortc';
  const viewers = Object.keys(VIEWERS).filter((each) => kinds.includes(each) && only(kind, each));
  if (viewers.length === 0) return rows;
  const publisher = await stage.join({ kind, room, publish: 'vp8' });
  const tracks = (await publisher.tracks()) ?? new Map();
  // There is already a viewer.
  const resident = await stage.join({ kind, room });
  await resident.first('frame', PLAY_WITHIN_MS);
  for (const viewer of viewers) {
    const joins = [];
    for (let index = 0; index < JOINS; index++) joins.push(await joinOnce(stage, { viewer, room, publisher, tracks }));
    rows.push(summary(checks, { kind, viewer, joins }));
  }
  await resident.leave();
  await publisher.leave();
  return rows;
}

async function joinOnce(stage, { viewer, room, publisher, tracks }) {
  const asked = () => publisher.all('keyframe_request').map(({ at }) => at);
  await until(() => Date.now() - (asked().at(-1) ?? 0) > APART_MS, 'the last keyframe to be old', PLAY_WITHIN_MS);
  const watcher = await stage.join({ kind: viewer, room, ...VIEWERS[viewer] });
  const joining = await watcher.first('joining', PLAY_WITHIN_MS);
  const frame = await watcher.first('frame', PLAY_WITHIN_MS, ({ track }) => track === tracks.get('video'));
  const sound = await watcher.first('sound', PLAY_WITHIN_MS, ({ track }) => track === tracks.get('audio'));
  const dtls = await watcher.first('dtls', PLAY_WITHIN_MS, ({ pc }) => pc === 'subscribe');
  if (frame) await until(() => Date.now() > frame.at + AFTERWARDS_MS, 'later requests', PLAY_WITHIN_MS);
  const upMs = (joining && (await stage.connectedAtMs(joining.at))) ?? dtls?.at;
  const requests = asked().filter((at) => joining && at >= joining.at);
  const result = { isComplete: Boolean(frame && sound && dtls), trouble: watcher.trouble };
  await watcher.leave();
  if (!result.isComplete) return result;
  return {
    ...result,
    requests: requests.length,
    after_dtls_ms: requests.map((at) => at - upMs),
    video_after_audio_ms: frame.at - sound.at,
    first_video_ms: frame.at - joining.at,
  };
}

function summary(checks, { kind, viewer, joins }) {
  const complete = joins.filter(({ isComplete }) => isComplete);
  const early = complete.flatMap(({ after_dtls_ms: times }) => times).filter((ms) => ms < -TOLERANCE_MS);
  const most = Math.max(0, ...complete.map(({ requests }) => requests));
  const behind = median(complete.map((each) => each.video_after_audio_ms));
  const pair = `${kind} -> ${viewer}, joining late`;
  const trouble = joins.find(({ isComplete }) => !isComplete)?.trouble;
  checks.expect(complete.length === JOINS, `${pair}: joins with picture and sound`, complete.length, JOINS, trouble);
  checks.expect(most <= MAX_REQUESTS, `${pair}: keyframe requests a join, at most`, most, MAX_REQUESTS, `of each join: ${complete.map(({ requests }) => requests).join(' ')}`);
  checks.expect(early.length === 0, `${pair}: keyframe requests before DTLS was up`, early.length, 0, `ms after DTLS: ${early.map((ms) => Math.round(ms)).join(' ')}`);
  checks.expect(behind !== null && behind < MAX_VIDEO_AFTER_AUDIO_MS, `${pair}: median of first video minus first audio`, `${rounded(behind)} ms`, `under ${MAX_VIDEO_AFTER_AUDIO_MS} ms`);
  return {
    publisher: kind,
    viewer,
    joins: complete.length,
    requests: complete.reduce((sum, { requests }) => sum + requests, 0),
    most_requests_a_join: most,
    requests_before_dtls: early.length,
    first_request_after_dtls_ms: rounded(median(complete.flatMap(({ after_dtls_ms: [first] }) => first ?? []))),
    video_after_audio_ms: rounded(behind),
    first_video_ms: rounded(median(complete.map((each) => each.first_video_ms))),
  };
}

export function printLate(rows) {
  printTable(
    ['publisher', 'late viewer', 'joins', 'keyframe requests', 'most a join', 'before DTLS', 'first after DTLS ms', 'video after audio ms', 'first frame ms'],
    rows.map((row) => Object.values(row).map(String)),
  );
}
