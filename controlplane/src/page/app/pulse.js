/** Counts received audio packets and video frames per second, while there is a listener. */

const EVERY_MS = 1_000;

/**
 * @typedef {object} Beat
 * @property {number} packets audio packets of the last second
 * @property {number} frames video frames of the last second
 */

export class Pulse {
  #room;
  #timer = 0;
  #last = null;

  constructor(room) {
    this.#room = room;
  }

  /** Calls `beat` every second, from the second one on. @param {(beat: Beat) => void} beat */
  start(beat) {
    this.stop();
    const look = async () => {
      const now = await this.#room.received().catch(() => null);
      if (!this.#timer) return;
      // Counters of a new connection start at 0.
      const since = (name) => Math.max(0, now[name] - this.#last[name]);
      if (now && this.#last) beat({ packets: since('packets'), frames: since('frames') });
      this.#last = now;
    };
    this.#timer = setInterval(look, EVERY_MS);
    look();
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#last = null;
  }
}
