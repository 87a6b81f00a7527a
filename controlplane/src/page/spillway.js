/**
 * Spillway's browser client: one class, `Room`, that speaks docs/protocol.md.
 *
 *   import { Room } from '/spillway.js';
 *
 *   const room = new Room();
 *   room.on('tracksubscribed', ({ track, mediaStreamTrack }) => show(track, mediaStreamTrack));
 *   await room.join(token);
 *   await room.publish('camera');
 *   await room.publish('microphone');
 *
 * The guide is docs/client.md. Units are in the names or beside them.
 *
 * | event | detail |
 * |---|---|
 * | `statechange` | `{state, previous, error?}`: see `Room.state` |
 * | `participantjoined` | `{participant}` |
 * | `participantleft` | `{participant, reason}`: `left`, `timeout`, `replaced`, `removed` |
 * | `trackpublished`, `trackunpublished` | `{participant, track}` |
 * | `trackmuted` | `{participant, track, muted}` |
 * | `tracksubscribed`, `trackunsubscribed` | `{participant, track, mediaStreamTrack}` |
 * | `speakers` | `{speakers: [{participant, level}]}`: ids, loudest first, level 0 to 1, self included |
 * | `layer` | `{track, rid, active}`: what the server sends of a RemoteTrack now |
 * | `message` | `{participant, identity, topic, payload}`: `participant` is an id |
 * | `localtrackended` | `{track}`: a LocalTrack whose device went away or whose screen share was stopped |
 * | `error` | `{error}`: a SpillwayError outside of a called method |
 *
 * RemoteParticipant and RemoteTrack are described in client/roster.js, TrackStats in client/stats.js.
 */
import { capture, captureScreen } from './client/capture.js';
import { Connection } from './client/connection.js';
import { Handshakes } from './client/handshakes.js';
import { Publisher } from './client/publisher.js';
import { Relays } from './client/relays.js';
import { Roster } from './client/roster.js';
import { SpillwayError, errorOf, lostMedia } from './client/errors.js';
import { EVENTS, ROOM_OPTIONS, WISHES, checkName, checkOptions, checkPublish, checkToken } from './client/options.js';
import { permissionsOf } from './client/permissions.js';
import { freshToken, isOver, within } from './client/token.js';
import { defaultUrl } from './client/url.js';
import { StatsReader } from './client/stats.js';
import { Subscriber } from './client/subscriber.js';

export { SpillwayError } from './client/errors.js';
export { LocalTrack } from './client/local-track.js';

/** Time for which a subscribe connection may stay failed after a resume, before the client joins anew. */
const REPAIR_WITHIN_MS = 5_000;
/** Time that a resume waits for a new token, while the server may accept the old one. */
const TOKEN_WITHIN_MS = 3_000;
/** Time that `leave` waits for the server's reply. */
const LEAVE_WITHIN_MS = 1_000;

/** @typedef {'idle'|'connecting'|'connected'|'reconnecting'|'media-lost'|'closed'} RoomState */

export class Room extends EventTarget {
  /**
   * `idle` before `join`; `connecting`; `connected`; `reconnecting` while the signaling socket is broken (media flows
   * on); `media-lost` while the media server is away; `closed` after `leave` or a refusal.
   * @type {RoomState}
   */
  state = 'idle';
  /** Name of the room, sent by the server. */
  name = '';
  /** Own participant id, `PA_...`. */
  participant = '';
  identity = '';
  /** From the server: `{message_bytes, messages_per_second, tracks}`. */
  limits = null;
  /** Permissions of the token. @type {import('./client/permissions.js').Permissions} */
  permissions = permissionsOf('');

  #options;
  #token = '';
  #refreshToken = null;
  #connection = null;
  #roster = new Roster((name, detail) => this.#emit(name, detail));
  #relays;
  #publisher;
  #subscriber;
  #stats = new StatsReader();
  #wishes = new Map();
  #resume = null;
  #mediaLost = false;
  #repairTimer = 0;
  #handshakes = new Handshakes();

  /**
   * @param {object} [options]
   * @param {string} [options.url] signaling address, `wss://host/v1/signal`; default: beside this module, or at the
   *   page's own host
   * @param {boolean} [options.autoSubscribe] receive every track as it appears; default true
   */
  constructor(options = {}) {
    super();
    checkOptions('the options of Room', options, ROOM_OPTIONS);
    const { url, autoSubscribe = true } = options;
    this.#options = { url: url ?? defaultUrl(), autoSubscribe };
    const request = (type, fields) => this.#request(type, fields);
    const error = (cause) => this.#emit('error', { error: cause });
    this.#relays = new Relays({ request, changed: (servers) => this.#subscriber.setIceServers(servers) });
    const iceServers = () => this.#relays.fresh();
    this.#publisher = new Publisher({
      request,
      iceServers,
      error,
      failed: (cause) => this.#publishFailed(cause),
      ended: (track) => this.#localEnded(track),
    });
    this.#subscriber = new Subscriber({
      request,
      iceServers,
      changed: () => this.#matchMedia(),
      failed: (cause) => this.#subscribeFailed(cause),
    });
    this.on('trackunpublished', ({ track }) => this.#stats.forget(track.track));
  }

  /**
   * The other participants.
   * @returns {Map<string, import('./client/roster.js').RemoteParticipant>} by participant id
   */
  get participants() {
    return this.#roster.participants;
  }

  /** @returns {import('./client/local-track.js').LocalTrack[]} tracks that this participant publishes */
  get localTracks() {
    return this.#publisher.tracks;
  }

  /**
   * Calls the listener with the detail of each event of this name. Throws if there is no event of this name.
   * @returns {() => void} stops listening
   */
  on(name, listener) {
    checkName('event', name, EVENTS);
    if (typeof listener !== 'function') throw new SpillwayError('bad_option', `the listener of '${name}' is no function`);
    const wrapped = (event) => listener(event.detail);
    this.addEventListener(name, wrapped);
    return () => this.removeEventListener(name, wrapped);
  }

  /**
   * Joins the token's room. Resolves when the server has sent the list of participants.
   * @param {string | (() => string | Promise<string>)} token a function is called again if the server refuses the
   *   token at a reconnect, for example because it has expired
   * @returns {Promise<Room>} rejects with a SpillwayError
   */
  async join(token) {
    if (this.#connection) throw new SpillwayError('already_joined', `this room object is ${this.state}: a new one joins again`);
    checkToken(token);
    this.#refreshToken = typeof token === 'function' ? token : null;
    this.#token = this.#refreshToken ? '' : token;
    this.#connection = new Connection(this.#options.url, {
      hello: (last) => this.#hello(last),
      canRefresh: () => this.#refreshToken !== null,
      joined: (message) => this.#joined(message),
      message: (message) => this.#receive(message),
      lost: (error) => this.#lost(error),
      over: (error) => this.#close(error),
    });
    this.#setState('connecting');
    try {
      await this.#connection.open();
    } catch (error) {
      this.#close(error);
      throw error;
    }
    return this;
  }

  /**
   * Publishes a track.
   * @param {MediaStreamTrack | 'camera' | 'microphone' | 'screen'} what a string opens the device; the browser asks the
   *   user for permission. Then the room owns the device and closes it
   * @param {object} [options]
   * @param {'camera'|'microphone'|'screen'|'screen_audio'|'other'} [options.source] of a given track; default by kind
   * @param {string} [options.deviceId] of the captured device
   * @param {number} [options.height] pixels to ask the camera for; default 720
   * @param {'vp8'|'vp9'|'h264'|'av1'} [options.codec] preferred; default vp8
   * @param {boolean} [options.simulcast] default: with vp8 and h264, when the capture is large enough
   * @param {number} [options.maxBitrate] bit/s of the largest layer
   * @param {boolean} [options.audio] also publish the screen's sound, as a separate track; default false
   * @param {boolean} [options.dtx] send almost no packets while the microphone is silent (Opus DTX); default true
   * @param {boolean} [options.red] repeat the previous audio in each packet (RFC 2198): tolerates loss, doubles the
   *   rate; default false
   * @param {boolean} [options.muted] publish the track muted; default false
   * @param {() => Promise<MediaStreamTrack>} [options.recapture] for a given camera track: opens the camera again after
   *   a mute has stopped it
   * @returns {Promise<import('./client/local-track.js').LocalTrack>} rejects with a SpillwayError; other tracks are not
   *   affected, and the call can be repeated
   */
  async publish(what, options = {}) {
    checkPublish(what, options);
    this.#needJoined();
    if (typeof what !== 'string') return this.#publishTrack(what, options);
    this.#needPermission(what);
    if (what === 'screen') return this.#publishScreen(options);
    const recapture = () => capture(what, options);
    const mediaStreamTrack = await recapture();
    return this.#publisher.publish({ mediaStreamTrack, source: what, options, recapture, owned: true });
  }

  /**
   * Subscribes to a track, or changes the parameters of a subscription.
   * @param {string} trackId `TR_...`
   * @param {object} [wish]
   * @param {boolean} [wish.paused] keep the subscription, stop the media
   * @param {number} [wish.maxHeight] pixels, 0: no limit
   * @param {number} [wish.priority] 0 to 255, higher gets bandwidth first
   */
  async subscribe(trackId, options = {}) {
    checkOptions('the options of subscribe', options, WISHES);
    const { paused = false, maxHeight = 0, priority = 0 } = options;
    const wish = { track: trackId, paused, max_height: Math.round(maxHeight), priority };
    this.#wishes.set(trackId, wish);
    await this.#unlessBroken(this.#request('subscribe', { tracks: [wish] }));
  }

  /** Stops receiving a track. */
  async unsubscribe(trackId) {
    this.#wishes.set(trackId, null);
    await this.#unlessBroken(this.#request('unsubscribe', { tracks: [trackId] }));
  }

  /**
   * @param {string} topic up to 64 characters
   * @param {any} payload JSON, up to 8 KiB
   * @param {string[]} [to] identities; default everybody else
   * @param {object} [options]
   * @param {boolean} [options.ephemeral] not stored in the history: only connected participants get it
   */
  async sendMessage(topic, payload, to, options = {}) {
    checkOptions('the options of sendMessage', options, ['ephemeral']);
    const { ephemeral = false } = options;
    const fields = { topic, payload, ...(to ? { to } : {}), ...(ephemeral ? { ephemeral } : {}) };
    await this.#request('message', fields);
  }

  /**
   * Totals of the media received from all remote tracks so far.
   * @returns {Promise<{packets: number, frames: number}>} audio packets and decoded video frames, cumulative
   */
  async received() {
    return this.#stats.arrived(await this.#subscriber.getStats());
  }

  /**
   * While `reconnecting`: reconnects now instead of after the pause, and restarts an attempt that makes no progress.
   * While `media-lost`: reconnects the signaling socket.
   */
  reconnect() {
    if (this.state === 'media-lost') this.#connection?.restart('asked to');
    this.#connection?.retry();
  }

  /**
   * Statistics of one track, own or remote.
   * @param {string} trackId
   * @returns {Promise<import('./client/stats.js').TrackStats | null>} null if the track is unknown
   */
  async getStats(trackId) {
    const local = this.localTracks.find((track) => track.id === trackId);
    if (local?.transceiver) return this.#stats.sent(trackId, await this.#publisher.getStats(), local.transceiver.mid);
    const track = this.#roster.track(trackId);
    const transceiver = this.#subscriber.transceivers.get(trackId);
    if (!track || !transceiver) return null;
    return this.#stats.received(trackId, await this.#subscriber.getStats(), transceiver.mid, track.rid);
  }

  /** Leaves the room, and closes the devices that it opened. */
  async leave() {
    if (!this.#connection || this.state === 'closed') return;
    const told = this.#connection.request('leave', {}).catch(() => {});
    await Promise.race([told, new Promise((resolve) => setTimeout(resolve, LEAVE_WITHIN_MS))]);
    this.#close(null);
  }

  // ---- signaling

  async #hello(last) {
    const refused = Boolean(last?.code.startsWith('token_'));
    if (this.#refreshToken && (refused || isOver(this.#token))) await this.#renewToken(refused);
    this.permissions = permissionsOf(this.#token);
    const resume = this.#resume ? { resume: { ...this.#resume } } : {};
    return { token: this.#token, auto_subscribe: this.#options.autoSubscribe, ...resume };
  }

  /**
   * The resume key is valid for some time without a valid token, so an error of the token source does not end the call.
   */
  async #renewToken(refused) {
    const asked = freshToken(this.#refreshToken).then((token) => {
      this.#token = token;
    });
    if (refused || !this.#resume || !this.#token) return asked;
    // A token that arrives late is used for the next resume.
    return within(asked, TOKEN_WITHIN_MS).catch(() => {});
  }

  #joined(message) {
    const { mode, participant, identity, room, epoch, offset, resume_key: key } = message;
    const isReturn = this.participant !== '';
    this.name = room;
    this.identity = identity;
    this.limits = message.limits;
    this.participant = participant;
    this.#roster.setSelf(participant);
    this.#relays.take(message);
    // "recovered": the missed events follow, and each increases the offset.
    this.#resume = { participant, epoch, offset: mode === 'recovered' ? this.#resume.offset : offset, key };
    if (mode === 'new') {
      this.#mediaLost = false;
      clearTimeout(this.#repairTimer);
      this.#subscriber.discard();
      if (isReturn) this.#publisher.rebuild({ forgetIds: true });
    }
    if (mode !== 'recovered') this.#roster.reset(message.participants ?? []);
    this.#setState(this.#mediaLost ? 'media-lost' : 'connected');
    this.#matchMedia();
    this.#repeatWishes();
    if (this.#mediaLost) this.#repairUnless(() => !this.#mediaLost);
    else this.#publisher.open();
  }

  #receive(message) {
    switch (message.type) {
      case 'event':
        return this.#roomEvent(message);
      case 'joined':
        // The history started over: `participants` is complete.
        return this.#joined(message);
      case 'offer':
        return this.#subscriber.handleOffer(message);
      case 'message':
        return this.#message(message);
      case 'speakers':
        return this.#emit('speakers', { speakers: message.speakers });
      case 'layer':
        return this.#layer(message);
      case 'media':
        return message.state === 'lost' ? this.#loseMedia(message.reason) : this.#mediaReady();
      case 'error':
        return this.#emit('error', { error: errorOf(message) });
      default:
        // Ignore message types of later protocol versions, and `closing`, which the socket handles.
        return undefined;
    }
  }

  #roomEvent({ offset, event }) {
    const expected = this.#resume.offset + 1;
    if (offset < expected) return;
    if (offset > expected) return this.#connection.restart(`event ${offset} came where ${expected} was due`);
    this.#resume.offset = offset;
    if (this.#roster.apply(event)) return this.#matchMedia();
    if (event.kind === 'message') this.#message(event);
  }

  #message({ participant, identity, topic, payload }) {
    if (participant !== this.participant) this.#emit('message', { participant, identity, topic, payload });
  }

  #layer({ track: id, rid, active }) {
    const track = this.#roster.track(id);
    if (!track) return;
    track.rid = rid;
    track.active = active;
    this.#emit('layer', { track, rid, active });
  }

  #request(type, fields) {
    if (this.#connection) return this.#connection.request(type, fields);
    return Promise.reject(new SpillwayError('not_joined', `join before ${type}`));
  }

  /** Subscription parameters outlive a broken socket: they are sent again after the next `joined`. */
  async #unlessBroken(reply) {
    try {
      await reply;
    } catch (error) {
      if (error.code !== 'disconnected' && error.code !== 'timeout') throw error;
    }
  }

  #repeatWishes() {
    const present = new Set(this.#roster.allTracks().map((track) => track.track));
    for (const id of [...this.#wishes.keys()]) if (!present.has(id)) this.#wishes.delete(id);
    const puts = [...this.#wishes.values()].filter((wish) => wish !== null);
    const removes = [...this.#wishes.keys()].filter((id) => this.#wishes.get(id) === null);
    if (puts.length > 0) this.#request('subscribe', { tracks: puts }).catch(() => {});
    if (removes.length > 0) this.#request('unsubscribe', { tracks: removes }).catch(() => {});
  }

  #lost(error) {
    this.#publisher.hold();
    this.#setState('reconnecting', error);
  }

  // ---- media

  #matchMedia() {
    const media = new Map();
    for (const [track, transceiver] of this.#subscriber.transceivers) media.set(track, transceiver.receiver.track);
    this.#roster.setMedia(media);
  }

  #loseMedia(reason) {
    this.#mediaLost = true;
    // If the media server has no capacity, the signaling server tries again.
    this.#handshakes.lost(reason === 'node_full' ? undefined : reason);
    this.#publisher.hold();
    this.#publisher.discard();
    this.#subscriber.discard();
    this.#setState('media-lost', reason ? lostMedia(reason) : null);
  }

  #mediaReady() {
    this.#handshakes.ready(() => this.#renewMedia(), (error) => this.#emit('error', { error }));
  }

  #renewMedia() {
    this.#mediaLost = false;
    clearTimeout(this.#repairTimer);
    this.#subscriber.discard();
    this.#publisher.rebuild();
    this.#publisher.open();
    this.#setState('connected');
  }

  #publishFailed(cause) {
    if (cause) this.#emit('error', { error: cause });
    this.#publisher.restartIce();
    this.#repairUnless(() => this.#publisher.connectionState !== 'failed');
  }

  #subscribeFailed(cause) {
    if (cause) this.#emit('error', { error: cause });
    this.#connection?.restart('the receiving connection failed');
    this.#repairUnless(() => !cause && this.#subscriber.connectionState !== 'failed');
  }

  /** Joins as a new participant with new peer connections, if the media cannot be repaired otherwise. */
  #repairUnless(repaired) {
    clearTimeout(this.#repairTimer);
    this.#repairTimer = setTimeout(() => {
      if (repaired() || this.state === 'closed') return;
      this.#resume = null;
      this.#connection.restart('media could not be repaired');
    }, REPAIR_WITHIN_MS);
  }

  #needJoined() {
    if (!this.#connection || this.state === 'closed') throw new SpillwayError('not_joined', 'join before publishing');
  }

  /** Does not open a device for a track that the server would refuse. */
  #needPermission(source) {
    if (this.permissions.publish.includes(source)) return;
    throw new SpillwayError('not_permitted', `the token does not let publish the ${source}`);
  }

  async #publishTrack(mediaStreamTrack, options) {
    const source = options.source ?? (mediaStreamTrack.kind === 'audio' ? 'microphone' : 'camera');
    this.#needPermission(source);
    const recapture = options.recapture ?? null;
    return this.#publisher.publish({ mediaStreamTrack, source, options, recapture, owned: recapture !== null });
  }

  async #publishScreen(options) {
    const stream = await captureScreen(options);
    const publish = (mediaStreamTrack, source) =>
      this.#publisher.publish({ mediaStreamTrack, source, options, recapture: null, owned: true });
    const [video] = stream.getVideoTracks();
    const [sound] = stream.getAudioTracks();
    if (sound) publish(sound, 'screen_audio').catch((error) => this.#emit('error', { error }));
    return publish(video, 'screen');
  }

  #localEnded(track) {
    this.#emit('localtrackended', { track });
    if (track.source === 'screen' || track.source === 'screen_audio') track.unpublish();
  }

  // ---- state

  #close(error) {
    if (this.state === 'closed') return;
    clearTimeout(this.#repairTimer);
    this.#handshakes.close();
    this.#connection?.close();
    this.#publisher.close();
    this.#subscriber.discard();
    this.#roster.reset([]);
    this.#setState('closed', error);
  }

  #setState(state, error = null) {
    const previous = this.state;
    if (previous === state && !error) return;
    this.state = state;
    this.#emit('statechange', { state, previous, ...(error ? { error } : {}) });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
