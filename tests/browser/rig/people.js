/** Participants: with the page, operated like a user does, or with the client in an empty page. */
import { ranMs } from './clock.js';
import { until } from './wait.js';

const JOIN_WITHIN_MS = 30_000;
/** Time limit for loading a page on a busy host. */
const PAGE_WITHIN_MS = 120_000;
export const MEDIA_WITHIN_MS = 40_000;

/** Height of test cameras in pixels: small, to save CPU time for encoding. */
const TEST_HEIGHT = 360;

/**
 * Opens the page so that it joins by itself, with camera and microphone. `over` restricts the path of its media:
 * "udp", "tcp" or "tls" through TURN, or "ice-tcp"; null: any path.
 * @returns {Promise<import('puppeteer-core').Page>}
 */
export async function joinPage(browser, { url, room, name, height = TEST_HEIGHT, over = null }) {
  const page = await open(browser, name);
  if (over) await page.evaluateOnNewDocument(onlyOver, over);
  await page.goto(`${url}/?${new URLSearchParams({ room, name, autojoin: 1, height })}`);
  await until(() => page.evaluate(() => globalThis.spillway?.room?.localTracks.filter((track) => track.id).length === 2), `${name} to join and publish`, JOIN_WITHIN_MS);
  return page;
}

/** Runs in the page before its scripts: restricts the paths of peer connections. */
function onlyOver(over) {
  const wanted = { udp: /^turn:.*transport=udp/, tcp: /^turn:.*transport=tcp/, tls: /^turns:/ }[over];
  const narrowed = (config = {}) => {
    if (!wanted) return { ...config, iceServers: [] };
    const servers = (config.iceServers ?? []).map((server) => ({ ...server, urls: [server.urls].flat().filter((url) => wanted.test(url)) }));
    return { ...config, iceTransportPolicy: 'relay', iceServers: servers.filter(({ urls }) => urls.length > 0) };
  };
  const isUnwanted = (line) => over === 'ice-tcp' && /^a=candidate:\S+ \d+ udp /i.test(line);
  const Native = globalThis.RTCPeerConnection;
  globalThis.peerConnections = [];
  globalThis.RTCPeerConnection = class extends Native {
    constructor(config) {
      super(narrowed(config));
      globalThis.peerConnections.push(this);
    }
    setConfiguration(config) {
      super.setConfiguration(narrowed(config));
    }
    setRemoteDescription({ type, sdp }) {
      const lines = sdp.split('\r\n').filter((line) => !isUnwanted(line));
      return super.setRemoteDescription({ type, sdp: lines.join('\r\n') });
    }
  };
}

/**
 * Path of the media of a page that joined with `over`.
 * @returns {Promise<{type: string, protocol: string, relayProtocol?: string}[]>} local candidate of the selected pair
 *   of each peer connection
 */
export function paths(page) {
  return page.evaluate(async () => {
    const found = [];
    for (const connection of globalThis.peerConnections.filter((one) => one.connectionState === 'connected')) {
      const stats = await connection.getStats();
      for (const pair of stats.values()) {
        if (pair.type !== 'candidate-pair' || pair.state !== 'succeeded' || !pair.nominated) continue;
        const { candidateType: type, protocol, relayProtocol } = stats.get(pair.localCandidateId);
        found.push({ type, protocol, relayProtocol });
      }
    }
    return found;
  });
}

/**
 * Joins with spillway.js only; `globalThis.room` is the room and `globalThis.events` has the room's events.
 * @param {{url: string, room: string, name: string, publish?: [string, object][], autoSubscribe?: boolean}} who
 */
export async function joinBare(browser, { url, room, name, publish = [], autoSubscribe = true }) {
  const page = await open(browser, name);
  // Any document of the server that runs no scripts.
  await page.goto(`${url}/spillway.js`);
  await page.evaluate(
    async ({ room: roomName, name: identity, publish: tracks, autoSubscribe: auto }) => {
      const { Room } = await import('/spillway.js');
      const query = new URLSearchParams({ room: roomName, identity, name: identity });
      const token = async () => (await (await fetch(`/v1/demo/token?${query}`)).json()).token;
      const self = new Room({ autoSubscribe: auto });
      globalThis.room = self;
      globalThis.spillway = { room: self };
      globalThis.events = [];
      const names = ['statechange', 'participantjoined', 'participantleft', 'trackpublished', 'trackunpublished', 'trackmuted', 'layer', 'message', 'speakers', 'error'];
      for (const event of names) self.on(event, (detail) => globalThis.events.push({ event, detail, atMs: performance.now() }));
      self.on('tracksubscribed', ({ track, mediaStreamTrack }) => {
        const media = document.createElement(track.kind);
        Object.assign(media, { autoplay: true, muted: track.kind === 'video', srcObject: new MediaStream([mediaStreamTrack]) });
        media.dataset.track = track.track;
        document.body.append(media);
      });
      self.on('trackunsubscribed', ({ track }) => document.querySelector(`[data-track="${track.track}"]`)?.remove());
      await self.join(token);
      await Promise.all(tracks.map(([what, options]) => self.publish(what, options)));
    },
    { room, name, publish, autoSubscribe },
  );
  return page;
}

/** Received media of a participant: one entry per remote track. */
export function received(page) {
  return page.evaluate(async () => {
    const { room } = globalThis.spillway;
    const list = [];
    for (const participant of room.participants.values()) {
      for (const track of participant.tracks.values()) {
        const { participant: id, name } = participant;
        const stats = await room.getStats(track.track);
        list.push({ participant: id, name, track: track.track, kind: track.kind, source: track.source, muted: track.muted, active: track.active, ...stats });
      }
    }
    return list;
  });
}

/**
 * Waits until decoded frames and audio energy of each participant in `names` are above zero and rise.
 * @param {import('puppeteer-core').Page} page
 */
export async function seesAndHears(page, names, withinMs = MEDIA_WITHIN_MS) {
  const first = new Map();
  let missing = '';
  const rising = async () => {
    const tracks = await received(page);
    const lacking = [];
    for (const name of names) {
      for (const kind of ['video', 'audio']) {
        const track = tracks.find((candidate) => candidate.name === name && candidate.kind === kind);
        const value = kind === 'video' ? track?.frames : track?.audioEnergy;
        const key = `${kind} of ${name}`;
        if (value > 0 && !first.has(key)) first.set(key, value);
        const enough = kind === 'video' ? 10 : Number.EPSILON;
        if (!(value >= first.get(key) + enough)) lacking.push(`${key} (${track ? `${track.packets} packets, ${value}, active ${track.active}` : 'no track'})`);
      }
    }
    missing = lacking.join(', ');
    return lacking.length === 0;
  };
  try {
    await until(rising, 'media', withinMs);
  } catch {
    const self = await page.evaluate(() => globalThis.spillway.room.identity);
    throw new Error(`${self} waited ${withinMs} ms in vain for ${missing}`);
  }
}

/**
 * Watches all remote video from now on.
 * @returns {Promise<() => Promise<Record<string, number>>>} a function that stops watching and returns, for each track,
 *   the longest pause between two decoded frames, in milliseconds in which the host ran
 */
export async function watchPauses(page) {
  await page.evaluate(() => {
    const { room } = globalThis.spillway;
    const seen = new Map();
    globalThis.pauses = []; // of each reading: track, time of the last new frame, time of the reading
    globalThis.pauseTimer = setInterval(async () => {
      for (const participant of room.participants.values()) {
        for (const { track, kind } of participant.tracks.values()) {
          const stats = kind === 'video' && (await room.getStats(track));
          if (!stats) continue;
          const now = Date.now();
          const last = seen.get(track) ?? { frames: stats.frames, atMs: now };
          globalThis.pauses.push([track, last.atMs, now]);
          seen.set(track, stats.frames > last.frames ? { frames: stats.frames, atMs: now } : last);
        }
      }
    }, 50);
  });
  return async () => {
    const pauses = await page.evaluate(() => {
      clearInterval(globalThis.pauseTimer);
      return globalThis.pauses;
    });
    const longest = {};
    for (const [track, fromMs, toMs] of pauses) longest[track] = Math.max(longest[track] ?? 0, ranMs(fromMs, toMs));
    return longest;
  };
}

/** Records the states of a room from now on. @returns {Promise<() => Promise<string[]>>} */
export async function watchStates(page) {
  await page.evaluate(() => {
    globalThis.states = [];
    globalThis.spillway.room.on('statechange', ({ state }) => globalThis.states.push(state));
  });
  return () => page.evaluate(() => globalThis.states);
}

async function open(browser, name) {
  const page = await browser.newPage();
  page.setDefaultTimeout(PAGE_WITHIN_MS);
  page.on('pageerror', (error) => console.error(`${name}: ${error.message}`));
  if (process.env.SPILLWAY_TEST_LOG) page.on('console', (message) => console.error(`${name}: ${message.text()}`));
  return page;
}
