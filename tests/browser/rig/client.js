/** spillway.js outside a browser: the test controls the server's end of the WebSocket. */
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { until } from './wait.js';

const PAGE = new URL('../../../controlplane/src/page', import.meta.url).pathname;

globalThis.CustomEvent ??= class extends Event {
  constructor(name, options) {
    super(name);
    this.detail = options?.detail;
  }
};

/** Makes Node treat the page's files as modules. */
export async function loadPage() {
  const dir = await mkdtemp(join(tmpdir(), 'spillway-page-'));
  await cp(PAGE, dir, { recursive: true });
  await writeFile(join(dir, 'package.json'), '{"type":"module"}');
  const load = (name) => import(pathToFileURL(join(dir, name)).href);
  return { load, unload: () => rm(dir, { recursive: true, force: true }) };
}

/** All sockets that the client opened, oldest first. */
export const sockets = [];

/** Replaces the browser's WebSocket. */
export class FakeSocket {
  static OPEN = 1;
  readyState = 0;
  sent = [];

  constructor(url) {
    this.url = url;
    sockets.push(this);
    queueMicrotask(() => {
      this.readyState = 1;
      this.onopen?.();
    });
  }

  send(text) {
    const message = JSON.parse(text);
    if (message.type === 'leave') queueMicrotask(() => this.say({ type: 'ok', id: message.id }));
    else this.sent.push(message);
  }

  close() {
    this.readyState = 3;
  }

  /** Actions of the server. */
  say(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  breakDown(code = 1006, reason = '') {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  /** The next unread message of a type. */
  async heard(type) {
    const index = () => this.sent.findIndex((message) => message.type === type);
    await until(() => index() >= 0, `the client to send ${type}`, 6_000);
    return this.sent.splice(index(), 1)[0];
  }
}

/** Replaces RTCPeerConnection, to record the order of calls. */
export class FakePeer {
  static all = [];
  connectionState = 'new';
  signalingState = 'stable';
  transceivers = [];
  offers = [];

  constructor(configuration) {
    this.configuration = configuration;
    FakePeer.all.push(this);
  }

  getConfiguration() {
    return this.configuration;
  }

  setConfiguration(configuration) {
    this.configuration = configuration;
  }

  currentRemoteDescription = null;

  addTransceiver(track, { direction }) {
    const transceiver = { mid: null, direction, sender: { replaceTrack: async () => {} }, receiver: { track: {} }, stop() {} };
    this.transceivers.push(transceiver);
    return transceiver;
  }

  getTransceivers() {
    return this.transceivers;
  }

  async createOffer(options) {
    this.offers.push({ ...options, iceServers: this.configuration.iceServers });
    return { type: 'offer', sdp: `offer ${this.offers.length}` };
  }

  async createAnswer() {
    return { type: 'answer', sdp: `answer to ${this.remoteDescription.sdp}` };
  }

  async setLocalDescription(description) {
    this.localDescription = description;
    this.signalingState = description.type === 'offer' ? 'have-local-offer' : 'stable';
    this.transceivers.forEach((transceiver, index) => (transceiver.mid ??= String(index)));
  }

  async setRemoteDescription(description) {
    this.remoteDescription = description;
    if (description.type === 'answer') this.currentRemoteDescription = description;
    if (description.type === 'answer') this.signalingState = 'stable';
    if (description.type === 'offer' && this.transceivers.length === 0) {
      this.transceivers.push({ mid: '0', receiver: { track: { kind: 'video' } } }, { mid: '1', receiver: { track: { kind: 'audio' } } });
    }
  }

  close() {
    this.connectionState = 'closed';
  }
}
