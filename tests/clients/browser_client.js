/**
 * Participants in pages of one browser, through spillway.js. They have the commands and events of
 * python/participant.py, and in addition:
 *
 *   {"do": "join", ..., "jitter_target_ms": 900}  jitterBufferTarget of all received audio tracks
 *
 *   playout   track, kind, mid, behind_ms (time of the reading minus estimatedPlayoutTimestamp; the two values are of
 *             different clocks, so only differences between tracks have a meaning), jitter_ms (mean delay of the jitter
 *             buffer since the last such event); five times a second if jitter_target_ms is given
 *
 * Frames are counted from statistics, which are read every 50 ms. Events of frames between two readings have the same
 * time.
 *
 *   node browser_client.js chromium|firefox ORIGIN
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { launchChromium, launchFirefox } from '../browser/rig/browsers.js';
import { writeVoice } from '../browser/rig/voice.js';

/** An http:// page on an IP address is not a secure context, but cameras are needed. */
const INSECURE_CAMERA = { 'media.devices.insecure.enabled': true };
/** Timers of background pages must not be throttled. */
const TIMERS = { 'dom.min_background_timeout_value': 4, 'dom.timeout.enable_budget_timer_throttling': false };

const [, , kind, origin] = process.argv;
const pages = new Map();

function say(identity, event, fields = {}) {
  process.stdout.write(`${JSON.stringify({ as: identity, event, at: Date.now(), ...fields })}\n`);
}

const dir = await mkdtemp(join(tmpdir(), 'spillway-clients-'));
const browser = await launch();
say('', 'ready');
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  const { do: what, as: identity } = command;
  try {
    if (what === 'join') await enter(command);
    else await leave(identity);
  } catch (error) {
    say(identity, 'error', { text: error.message });
  }
}
await browser.close().catch(() => {});
await rm(dir, { recursive: true, force: true });

async function launch() {
  if (kind === 'firefox') return launchFirefox({ prefs: { ...INSECURE_CAMERA, ...TIMERS } });
  const voice = join(dir, 'voice.wav');
  await writeVoice(voice);
  return launchChromium({
    args: [`--unsafely-treat-insecure-origin-as-secure=${origin}`, `--use-file-for-fake-audio-capture=${voice}`, '--autoplay-policy=no-user-gesture-required', `--user-data-dir=${join(dir, 'profile')}`],
  });
}

async function enter(command) {
  const { as: identity, url } = command;
  const page = await browser.newPage();
  pages.set(identity, page);
  page.on('pageerror', (error) => say(identity, 'error', { text: error.message }));
  await page.exposeFunction('tell', (lines) => lines.forEach(({ event, ...fields }) => say(identity, event, fields)));
  // Any document of the server that runs no scripts.
  await page.goto(`${url}/spillway.js`);
  await page.evaluate(participate, command);
}

async function leave(identity) {
  const page = pages.get(identity);
  if (!page) return;
  pages.delete(identity);
  await page.evaluate(() => globalThis.room.leave());
  await page.close();
  say(identity, 'left');
}

/** Runs in the page. */
async function participate({ as: identity, room: name, publish, jitter_target_ms: jitterTargetMs }) {
  const READ_EVERY_MS = 50;
  const SOUND_EVERY_MS = 200;
  const LOUD_ENERGY = 1e-6;
  const { Room } = await import('/spillway.js');
  let lines = [];
  const note = (event, fields = {}) => lines.push({ event, at: Date.now(), ...fields });
  const watchConnections = () => {
    const Native = globalThis.RTCPeerConnection;
    globalThis.RTCPeerConnection = class extends Native {
      constructor(config) {
        super({ ...config, iceServers: [] });
        // The publish connection makes offers, the subscribe connection receives them.
        const of = () => (this.localDescription?.type === 'offer' ? 'publish' : 'subscribe');
        this.addEventListener('iceconnectionstatechange', () => ['connected', 'completed'].includes(this.iceConnectionState) && note('ice', { pc: of() }));
        this.addEventListener('connectionstatechange', () => {
          if (this.connectionState === 'connected') note('dtls', { pc: of() });
          if (this.connectionState === 'failed') note('error', { text: `the ${of()} connection failed (ICE is ${this.iceConnectionState})` });
        });
        this.addEventListener('track', ({ receiver, track }) => {
          if (jitterTargetMs && track.kind === 'audio') receiver.jitterBufferTarget = jitterTargetMs;
        });
        globalThis.connections = [...(globalThis.connections ?? []), this];
      }
    };
  };
  if (!globalThis.connections) watchConnections();

  const room = new Room();
  globalThis.room = room;
  const receivers = new Map(); // by track id
  room.on('error', ({ error }) => note('error', { text: `${error.code}: ${error.message}` }));
  room.on('tracksubscribed', ({ track, mediaStreamTrack }) => {
    const media = document.createElement(track.kind);
    Object.assign(media, { autoplay: true, muted: track.kind === 'video', srcObject: new MediaStream([mediaStreamTrack]) });
    media.dataset.track = track.track;
    document.body.append(media);
    const all = globalThis.connections.flatMap((connection) => connection.getTransceivers());
    const transceiver = all.find(({ receiver }) => receiver.track === mediaStreamTrack);
    receivers.set(track.track, { kind: track.kind, mid: transceiver.mid, receiver: transceiver.receiver, toldMs: 0 });
    note('subscribed', { tracks: [{ mid: transceiver.mid, track: track.track }] });
  });
  room.on('trackunsubscribed', ({ track }) => {
    receivers.delete(track.track);
    document.querySelector(`[data-track="${track.track}"]`)?.remove();
  });

  /** Totals of a receiver, for any track that it plays. A new SSRC starts at 0. */
  const counts = new WeakMap();
  const countOf = (receiver, { ssrc }) => {
    if (counts.get(receiver)?.ssrc !== ssrc) counts.set(receiver, { ssrc, frames: 0, packets: 0, energy: 0, delay: 0, emitted: 0 });
    return counts.get(receiver);
  };
  const readVideo = (track, { receiver }, stats) => {
    const count = countOf(receiver, stats);
    for (; count.frames < (stats.framesDecoded ?? 0); count.frames++) note('frame', { track });
  };
  const readAudio = (track, seen, stats) => {
    const count = countOf(seen.receiver, stats);
    const packets = stats.packetsReceived - count.packets;
    const now = Date.now();
    if (packets <= 0 || !(stats.jitterBufferEmittedCount > 0) || now - seen.toldMs < SOUND_EVERY_MS) return;
    const energy = stats.totalAudioEnergy ?? 0;
    note('sound', { track, packets, loud: energy - count.energy > LOUD_ENERGY });
    Object.assign(count, { packets: stats.packetsReceived, energy });
    seen.toldMs = now;
  };
  const readPlayout = (track, { kind, mid, receiver }, stats) => {
    const count = countOf(receiver, stats);
    const emitted = stats.jitterBufferEmittedCount - count.emitted;
    if (!(emitted > 0)) return;
    const jitterMs = ((stats.jitterBufferDelay - count.delay) / emitted) * 1_000;
    Object.assign(count, { emitted: stats.jitterBufferEmittedCount, delay: stats.jitterBufferDelay });
    const playout = stats.estimatedPlayoutTimestamp;
    note('playout', { track, kind, mid, behind_ms: playout === undefined ? null : stats.timestamp - playout, jitter_ms: jitterMs });
  };
  let reading = 0;
  const read = async () => {
    const isPlayoutDue = jitterTargetMs && reading++ % 4 === 0;
    for (const [track, seen] of receivers) {
      const report = await seen.receiver.getStats();
      const stats = [...report.values()].find(({ type }) => type === 'inbound-rtp');
      if (!stats) continue;
      if (seen.kind === 'video') readVideo(track, seen, stats);
      else readAudio(track, seen, stats);
      if (isPlayoutDue) readPlayout(track, seen, stats);
    }
    const due = lines;
    lines = [];
    if (due.length > 0) await globalThis.tell(due);
  };
  // Only one reading at a time.
  const next = () => setTimeout(() => read().catch(() => {}).finally(next), READ_EVERY_MS);
  next();

  const query = new URLSearchParams({ room: name, identity, name: identity });
  const { token } = await (await fetch(`/v1/demo/token?${query}`)).json();
  note('joining');
  await room.join(token);
  if (!publish) return;
  const camera = { codec: publish, height: 240, simulcast: false };
  const tracks = await Promise.all([room.publish('microphone', { dtx: false }), room.publish('camera', camera)]);
  note('published', { tracks: tracks.map(({ id, kind, transceiver }) => ({ mid: transceiver.mid, kind, track: id })) });
  const video = tracks.find(({ kind }) => kind === 'video').transceiver.sender;
  let asked = 0;
  const readRequests = async () => {
    const stats = [...(await video.getStats()).values()].find(({ type }) => type === 'outbound-rtp');
    for (const now = (stats?.pliCount ?? 0) + (stats?.firCount ?? 0); asked < now; asked++) note('keyframe_request');
  };
  setInterval(() => readRequests().catch(() => {}), READ_EVERY_MS);
}
