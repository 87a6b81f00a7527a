/**
 * A track this participant publishes, as the application holds it.
 */
import { chooseRed, encodingsFor, preferVideoCodec } from './spillway-encodings.js';

export class LocalTrack {
  /** @type {'audio'|'video'} */
  kind;
  /** @type {'camera'|'microphone'|'screen'|'screen_audio'|'other'} */
  source;
  /** @type {string | null} track id, `TR_...`; null until the server gave one */
  id = null;
  /** @type {MediaStreamTrack | null} what is captured; null while a muted camera is switched off */
  mediaStreamTrack;
  muted = false;
  /** Resolves with this track once the server gave it an id. */
  published;

  /** @internal */ transceiver = null;
  /** @internal */ encodings;
  /** @internal */ mutedAtServer = false;
  /** @internal */ dtx;
  /** @internal two channels are offered */ stereo;
  /** @internal */ height;
  #codec;
  #red;
  #recapture;
  #owned;
  #owner;
  #over = false;
  #settle;
  #busy = Promise.resolve();

  /**
   * @internal
   * @param {object} description
   * @param {MediaStreamTrack} description.mediaStreamTrack
   * @param {string} description.source
   * @param {object} description.options those of Room.publish
   * @param {(() => Promise<MediaStreamTrack>) | null} description.recapture opens the device again after a mute
   * @param {boolean} description.owned the room captured it, and stops it
   */
  constructor({ mediaStreamTrack, source, options, recapture, owned }, owner) {
    const { width = 0, height = 0 } = mediaStreamTrack.getSettings?.() ?? {};
    this.kind = mediaStreamTrack.kind;
    this.source = source;
    this.mediaStreamTrack = mediaStreamTrack;
    this.muted = Boolean(options.muted);
    this.height = height;
    this.dtx = source === 'microphone' && options.dtx !== false;
    this.stereo = source === 'screen_audio' && mediaStreamTrack.getSettings?.().channelCount !== 1;
    this.#codec = options.codec ?? 'vp8';
    this.#red = Boolean(options.red);
    this.#recapture = recapture;
    this.#owned = owned;
    this.#owner = owner;
    const { kind } = this;
    this.encodings = encodingsFor({ ...options, kind, source, width, height, codec: this.#codec });
    this.published = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.published.catch(() => {});
    this.#watch(mediaStreamTrack);
    if (this.muted) mediaStreamTrack.enabled = false;
  }

  /** @internal transceivers of the same shape can be used again */
  get shape() {
    return `${this.kind}/${this.#codec}/${this.#red}/${JSON.stringify(this.encodings)}`;
  }

  /** @internal */
  get sending() {
    return this.mediaStreamTrack;
  }

  /** Stops sending and tells the others. A camera opened by the room is switched off, light included. */
  mute() {
    return this.#inTurn(async () => {
      if (this.muted || this.#over) return;
      this.muted = true;
      this.#owner.muteChanged();
      if (this.#recapture && this.kind === 'video') {
        if (this.transceiver) await this.transceiver.sender.replaceTrack(null);
        this.#drop();
        this.mediaStreamTrack = null;
      } else {
        this.mediaStreamTrack.enabled = false;
      }
    });
  }

  /** Sends again. Rejects with the device's error when a camera cannot be opened again. */
  unmute() {
    return this.#inTurn(async () => {
      if (!this.muted || this.#over) return;
      if (!this.mediaStreamTrack) await this.#adopt(await this.#recapture());
      this.mediaStreamTrack.enabled = true;
      this.muted = false;
      this.#owner.muteChanged();
    });
  }

  /** Ends the track for everybody; a device opened by the room is closed. */
  async unpublish() {
    this.#owner.unpublish();
  }

  /**
   * Sends another capture in place, without negotiation: another camera, a canvas.
   * @param {MediaStreamTrack} mediaStreamTrack of the same kind
   * @param {{recapture?: () => Promise<MediaStreamTrack>}} [options] how to open it again after a mute
   */
  replaceTrack(mediaStreamTrack, { recapture } = {}) {
    return this.#inTurn(async () => {
      if (recapture) this.#recapture = recapture;
      if (this.muted && !this.mediaStreamTrack) return mediaStreamTrack.stop();
      await this.#adopt(mediaStreamTrack);
      mediaStreamTrack.enabled = !this.muted;
    });
  }

  /** @internal */
  attach(transceiver) {
    this.transceiver = transceiver;
    if (this.kind === 'video') preferVideoCodec(transceiver, this.#codec);
    else chooseRed(transceiver, this.#red);
  }

  /** @internal */
  confirm(id, mutedAtServer) {
    if (this.id !== id) this.mutedAtServer = mutedAtServer;
    this.id = id;
    this.#settle.resolve(this);
  }

  /** @internal */
  forgetId() {
    this.id = null;
    this.mutedAtServer = false;
  }

  /** @internal */
  finish(error = null) {
    this.#over = true;
    if (error) this.#settle.reject(error);
    if (this.mediaStreamTrack) this.#drop();
  }

  async #adopt(mediaStreamTrack) {
    if (this.#over) return mediaStreamTrack.stop();
    if (this.transceiver) await this.transceiver.sender.replaceTrack(mediaStreamTrack);
    if (this.mediaStreamTrack && this.mediaStreamTrack !== mediaStreamTrack) this.#drop();
    this.mediaStreamTrack = mediaStreamTrack;
    this.#watch(mediaStreamTrack);
  }

  #watch(mediaStreamTrack) {
    if (this.kind === 'video' && 'contentHint' in mediaStreamTrack && !mediaStreamTrack.contentHint) {
      mediaStreamTrack.contentHint = this.source === 'screen' ? 'detail' : 'motion';
    }
    mediaStreamTrack.onended = () => mediaStreamTrack === this.mediaStreamTrack && this.#owner.ended();
  }

  #drop() {
    this.mediaStreamTrack.onended = null;
    if (this.#owned) this.mediaStreamTrack.stop();
  }

  #inTurn(act) {
    const done = this.#busy.then(act);
    this.#busy = done.catch(() => {});
    return done;
  }
}
