/**
 * A track that this participant publishes: the object for the application.
 */
import { chooseRed, encodingsFor, preferVideoCodec, refitted } from './encodings.js';
import { SpillwayError, deviceError, mediaError } from './errors.js';

export class LocalTrack {
  /** @type {'audio'|'video'} */
  kind;
  /** @type {'camera'|'microphone'|'screen'|'screen_audio'|'other'} */
  source;
  /** @type {string | null} track id, `TR_...`; null until the server has assigned one */
  id = null;
  /** @type {MediaStreamTrack | null} the captured media; null while a muted camera is switched off */
  mediaStreamTrack;
  muted = false;
  /** Resolves with this track when the server has assigned its id. */
  published;

  /** @internal */ transceiver = null;
  /** @internal */ encodings;
  /** @internal */ mutedAtServer = false;
  /** @internal */ dtx;
  /** @internal two channels are offered */ stereo;
  /** @internal */ height;
  #codec;
  /** Inputs of the encodings, besides the size. */
  #wanted;
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
   * @param {object} description.options options of Room.publish
   * @param {(() => Promise<MediaStreamTrack>) | null} description.recapture opens the device again after a mute
   * @param {boolean} description.owned true: the room opened the device, and closes it
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
    const { simulcast, maxBitrate } = options;
    this.#wanted = { kind, source, simulcast, maxBitrate, codec: this.#codec };
    this.encodings = encodingsFor({ ...this.#wanted, width, height });
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

  /** Stops sending and informs other participants. A camera that the room opened is switched off. */
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

  /** Sends again. Rejects with a `device_` error if the camera cannot be opened again. */
  unmute() {
    return this.#inTurn(async () => {
      if (!this.muted || this.#over) return;
      if (!this.mediaStreamTrack) await this.#adopt(await this.#captured());
      this.mediaStreamTrack.enabled = true;
      this.muted = false;
      this.#owner.muteChanged();
    });
  }

  /** Unpublishes the track. A device that the room opened is closed. */
  async unpublish() {
    this.#owner.unpublish();
  }

  /**
   * Replaces the sent media, for example by another camera or a canvas. If its size differs, layers and bitrates are
   * changed, and other participants are informed.
   * @param {MediaStreamTrack} mediaStreamTrack of the same kind
   * @param {{recapture?: () => Promise<MediaStreamTrack>}} [options] how to open it again after a mute
   */
  replaceTrack(mediaStreamTrack, { recapture } = {}) {
    return this.#inTurn(async () => {
      if (mediaStreamTrack?.kind !== this.kind) {
        throw new SpillwayError('bad_option', `the ${this.source} is ${this.kind}, got ${mediaStreamTrack?.kind ?? typeof mediaStreamTrack}`);
      }
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
  finish(error) {
    this.#over = true;
    this.#settle.reject(error); // no effect after the track was published
    if (this.mediaStreamTrack) this.#drop();
  }

  async #adopt(mediaStreamTrack) {
    if (this.#over) return mediaStreamTrack.stop();
    try {
      if (this.transceiver) await this.transceiver.sender.replaceTrack(mediaStreamTrack);
    } catch (error) {
      throw mediaError(error);
    }
    if (this.mediaStreamTrack && this.mediaStreamTrack !== mediaStreamTrack) this.#drop();
    this.mediaStreamTrack = mediaStreamTrack;
    this.#watch(mediaStreamTrack);
    await this.#fit();
  }

  async #captured() {
    try {
      return await this.#recapture();
    } catch (error) {
      throw deviceError(error, this.source);
    }
  }

  /** Sets layers and bitrates for the current size of the capture. */
  async #fit() {
    const { width = 0, height = 0 } = this.mediaStreamTrack.getSettings?.() ?? {};
    if (this.kind !== 'video' || !height || height === this.height) return;
    this.height = height;
    this.encodings = refitted(this.encodings, encodingsFor({ ...this.#wanted, width, height }));
    const sender = this.transceiver?.sender;
    const parameters = sender?.getParameters?.();
    if (parameters?.encodings?.length === this.encodings.length) {
      this.encodings.forEach((encoding, index) => Object.assign(parameters.encodings[index], encoding));
      // An encoder that cannot change its scale sends a smaller picture.
      await sender.setParameters(parameters).catch(() => {});
    }
    this.#owner.resized();
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
