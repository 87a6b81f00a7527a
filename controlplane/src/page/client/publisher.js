/**
 * The publish peer connection: offers the participant's tracks, one offer at a time. After the media
 * server was replaced, a new peer connection is created with the same tracks.
 */
import { sendCandidates } from './subscriber.js';
import { layersOf, withOpusDtx, withStereo } from './encodings.js';
import { LocalTrack } from './local-track.js';
import { reconfigure } from './relays.js';
import { SpillwayError, mediaError } from './errors.js';

/** Pause before an offer is repeated after a temporary refusal of the server. */
const RETRY_MS = 1_000;
/** Minimum time between two updates of a mute. */
const MUTE_RETRY_MS = 250;
/** Number of temporary refusals in a row after which an offer is given up. */
const MAX_RETRIES = 20;

export class Publisher {
  #pc = null;
  #generation = 0;
  /** @type {Set<LocalTrack>} */
  #locals = new Set();
  /** Inactive transceivers of unpublished tracks. Their m-lines are used again. */
  #idle = [];
  #dirty = false;
  #restartIce = false;
  /** Generation of the peer connection whose offer loop is running; each generation has at most one loop. */
  #negotiating = null;
  #retries = 0;
  #open = false;
  #closed = false;
  /** New tracks that were refused together. Each is offered again separately, so that one does not affect the others. */
  #apart = [];
  #owner;

  /**
   * @param {object} owner
   * @param {(type: string, fields: object) => Promise<object>} owner.request
   * @param {() => Promise<RTCIceServer[]>} owner.iceServers to gather candidates with
   * @param {(error: Error | null) => void} owner.failed the peer connection failed
   * @param {(error: Error) => void} owner.error an error for the application
   * @param {(track: LocalTrack) => void} owner.ended the captured device was removed, or the capture was stopped
   */
  constructor(owner) {
    this.#owner = owner;
  }

  get tracks() {
    return [...this.#locals];
  }

  get connectionState() {
    return this.#pc?.connectionState ?? 'new';
  }

  getStats() {
    return this.#pc?.getStats();
  }

  /** Permits offers from now on, and sends a waiting offer. */
  open() {
    this.#open = true;
    for (const local of this.#locals) this.#tellMuted(local);
    if (this.#dirty) this.#negotiate();
  }

  /** Stops offers until `open`, because the socket or the media server is unavailable. */
  hold() {
    this.#open = false;
  }

  /**
   * @param {object} description see the constructor of LocalTrack
   * @returns {Promise<LocalTrack>} resolves when the server has assigned the track's id
   */
  publish(description) {
    const local = new LocalTrack(description, {
      unpublish: () => this.#remove(local),
      muteChanged: () => this.#tellMuted(local),
      resized: () => this.#changed(),
      ended: () => this.#owner.ended(local),
    });
    if (this.#closed) {
      local.finish(new SpillwayError('left', `left before the ${local.source} was published`));
      return local.published;
    }
    this.#locals.add(local);
    if (this.#apart.length > 0) this.#apart.push(local);
    else if (this.#pc) this.#attach(local);
    this.#changed();
    return local.published;
  }

  /** Starts an ICE restart on the same peer connection. */
  restartIce() {
    if (!this.#pc) return;
    this.#restartIce = true;
    this.#changed();
  }

  /** Closes the peer connection. `rebuild` offers the tracks again. */
  discard() {
    this.#generation++;
    this.#pc?.close();
    this.#pc = null;
    for (const local of this.#locals) local.transceiver = null;
    this.#idle = [];
    this.#apart = [];
    this.#restartIce = false;
    this.#retries = 0;
  }

  /**
   * A new peer connection with all tracks.
   * @param {{forgetIds?: boolean}} [options] forgetIds: the participant is new, so its tracks get new ids
   */
  rebuild({ forgetIds = false } = {}) {
    this.discard();
    if (forgetIds) for (const local of this.#locals) local.forgetId();
    this.#dirty = this.#locals.size > 0;
    if (this.#open && this.#dirty) this.#negotiate();
  }

  close() {
    this.#open = false;
    this.#closed = true;
    for (const local of this.#locals) local.finish(new SpillwayError('left', 'left the room'));
    this.#locals.clear();
    this.discard();
  }

  #changed() {
    this.#dirty = true;
    // Tracks that are published in one turn of the event loop share one offer.
    queueMicrotask(() => this.#open && this.#negotiate());
  }

  /** Creates the peer connection with all tracks. `iceServers` apply to the next candidate gathering. */
  #prepare(iceServers) {
    if (this.#pc) {
      // Not at once: new ICE servers would make the next offer an ICE restart.
      if (iceServers) reconfigure(this.#pc, iceServers);
    } else {
      this.#pc = this.#connect(iceServers);
      for (const local of this.#locals) if (!this.#apart.includes(local)) this.#attach(local);
    }
    return this.#pc;
  }

  #connect(iceServers) {
    const pc = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' });
    sendCandidates(pc, 'publish', this.#owner.request);
    pc.onconnectionstatechange = () => {
      if (pc === this.#pc && pc.connectionState === 'failed') this.#owner.failed(null);
    };
    return pc;
  }

  /** Refuses only those tracks that the browser cannot send as requested. */
  #attach(local) {
    try {
      this.#addTransceiver(local);
    } catch (error) {
      this.#locals.delete(local);
      local.finish(mediaError(error));
    }
  }

  #addTransceiver(local) {
    const reused = this.#idle.findIndex((idle) => idle.shape === local.shape);
    if (reused >= 0) {
      const [{ transceiver }] = this.#idle.splice(reused, 1);
      transceiver.direction = 'sendonly';
      local.attach(transceiver);
      transceiver.sender.replaceTrack(local.sending).catch((error) => this.#owner.error(mediaError(error)));
      return;
    }
    const options = { direction: 'sendonly', sendEncodings: local.encodings };
    local.attach(this.#pc.addTransceiver(local.sending ?? local.kind, options));
  }

  #remove(local) {
    if (!this.#locals.delete(local)) return;
    this.#apart = this.#apart.filter((other) => other !== local);
    const { transceiver, shape } = local;
    local.finish(new SpillwayError('unpublished', `the ${local.source} was unpublished before the server had it`));
    this.#release(transceiver, shape);
    this.#tryNext();
    this.#changed();
  }

  #release(transceiver, shape) {
    if (!transceiver || !this.#pc?.getTransceivers().includes(transceiver)) return;
    transceiver.direction = 'inactive';
    transceiver.sender.replaceTrack(null).catch(() => {});
    this.#idle.push({ transceiver, shape });
  }

  async #negotiate() {
    const generation = this.#generation;
    if (this.#negotiating === generation) return;
    this.#negotiating = generation;
    const isDue = () => generation === this.#generation && this.#open && this.#dirty && Boolean(this.#pc || this.#locals.size);
    while (isDue()) {
      const gathers = !this.#pc || this.#restartIce;
      // Without TURN servers the connection may still succeed.
      const iceServers = gathers ? await this.#owner.iceServers().catch(() => []) : null;
      if (isDue()) await this.#offer(iceServers);
    }
    if (this.#negotiating === generation) this.#negotiating = null;
  }

  async #offer(iceServers) {
    this.#dirty = false;
    const iceRestart = this.#restartIce;
    this.#restartIce = false;
    const generation = this.#generation;
    try {
      const pc = this.#prepare(iceServers);
      await pc.setLocalDescription(await pc.createOffer({ iceRestart }));
      if (pc !== this.#pc) return;
      const offered = [...this.#locals].filter((local) => local.transceiver?.mid != null);
      const tracks = offered.map(describe);
      const midsOf = (locals) => new Set(locals.map((local) => local.transceiver.mid));
      const sdp = withStereo(pc.localDescription.sdp, midsOf(offered.filter((local) => local.stereo)));
      const replied = this.#owner.request('offer', { sdp, tracks });
      pc.releaseCandidates();
      const answer = await replied;
      if (pc !== this.#pc) return;
      const silent = midsOf(offered.filter((local) => local.dtx));
      await pc.setRemoteDescription({ type: 'answer', sdp: withOpusDtx(answer.sdp, silent) });
      this.#retries = 0;
      if (pc === this.#pc) this.#confirm(answer.tracks, tracks);
    } catch (error) {
      if (generation === this.#generation) await this.#offerFailed(error, iceRestart);
    }
  }

  #confirm(answered, offered) {
    const idByMid = new Map(answered.map(({ mid, track }) => [mid, track]));
    const mutedByMid = new Map(offered.map(({ mid, muted }) => [mid, muted]));
    for (const local of [...this.#locals]) {
      const mid = local.transceiver?.mid;
      if (mutedByMid.has(mid) && !idByMid.has(mid)) {
        this.#locals.delete(local);
        this.#release(local.transceiver, local.shape);
        local.finish(new SpillwayError('bad_sdp', `the server can use none of the codecs of the ${local.source}`));
        continue;
      }
      if (idByMid.has(mid)) local.confirm(idByMid.get(mid), Boolean(mutedByMid.get(mid)));
      this.#tellMuted(local);
    }
    this.#tryNext();
  }

  /** Offers the next of the separately offered tracks, unless the previous one still waits for its id. */
  #tryNext() {
    const isOnTrial = (local) => local.transceiver && !local.id;
    if (this.#apart.length === 0 || [...this.#locals].some(isOnTrial)) return;
    const next = this.#apart.shift();
    if (this.#pc) this.#attach(next);
    this.#changed();
  }

  async #offerFailed(error, iceRestart) {
    if (error.retry && this.#retries < MAX_RETRIES) {
      this.#dirty = true;
      this.#restartIce ||= iceRestart;
      // After a broken socket `open` retries; here the server refused temporarily.
      if (error.code === 'disconnected') return this.hold();
      this.#retries++;
      await sleep(Math.max(RETRY_MS, error.afterMs));
      return;
    }
    const isNew = (local) => local.transceiver && !local.id;
    const refused = [...this.#locals].filter(isNew);
    await this.#takeBack(refused);
    if (refused.length > 1) {
      this.#apart.push(...refused);
    } else if (refused.length === 1) {
      this.#locals.delete(refused[0]);
      refused[0].finish(mediaError(error));
    } else if (this.#apart.length === 0) {
      this.#owner.failed(mediaError(error));
    }
    this.#tryNext();
    if (this.#dirty) this.#changed();
  }

  /**
   * Reverts the peer connection to its state before the offer with the tracks `refused`. A peer connection without any
   * answer is discarded. Otherwise the m-lines stay, because after a rollback Chromium cannot make an offer once a
   * transceiver was stopped.
   */
  async #takeBack(refused) {
    const pc = this.#pc;
    if (!pc) return;
    if (!pc.currentRemoteDescription) {
      const apart = this.#apart;
      this.discard();
      this.#apart = apart;
      return;
    }
    if (pc.signalingState === 'have-local-offer') await pc.setLocalDescription({ type: 'rollback' }).catch(() => {});
    for (const local of refused) {
      this.#release(local.transceiver, local.shape);
      local.transceiver = null;
    }
  }

  async #tellMuted(local) {
    if (!local.id || !this.#open || local.muted === local.mutedAtServer) return;
    const { muted } = local;
    local.mutedAtServer = muted;
    try {
      await this.#owner.request('mute', { track: local.id, muted });
    } catch (error) {
      local.mutedAtServer = !muted;
      if (!error.retry) return this.#owner.error(error);
      // After a broken socket `open` sends it.
      if (error.code === 'disconnected') return;
      await sleep(Math.max(MUTE_RETRY_MS, error.afterMs));
      if (this.#locals.has(local)) this.#tellMuted(local);
    }
  }
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function describe(local) {
  const layers = layersOf(local.encodings, local.height);
  return {
    mid: local.transceiver.mid,
    kind: local.kind,
    source: local.source,
    ...(local.id ? { track: local.id } : {}),
    ...(local.muted ? { muted: true } : {}),
    ...(layers ? { layers } : {}),
  };
}
