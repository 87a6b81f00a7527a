/**
 * Failed DTLS handshakes: a certificate that was refused is refused again at once. So the pauses
 * double, and after some failures the application gets an error.
 */

import { SpillwayError } from './errors.js';

/** Number of failures in a row after which the client gives up. */
const MAX_FAILURES = 3;
/** Failures that are further apart are not counted as in a row. */
const IN_A_ROW_MS = 60_000;
const FIRST_PAUSE_MS = 1_000;

export class Handshakes {
  #reason = '';
  #failures = 0;
  #failedAt = 0;
  #timer = 0;

  /** Notes that media was lost; `reason` is set if a handshake failed. */
  lost(reason) {
    clearTimeout(this.#timer);
    this.#reason = reason ?? '';
    if (!reason) return;
    const now = Date.now();
    this.#failures = now - this.#failedAt < IN_A_ROW_MS ? this.#failures + 1 : 1;
    this.#failedAt = now;
  }

  /** Media is ready again: calls `renew` now or after a pause, or `giveUp` with an error. */
  ready(renew, giveUp) {
    clearTimeout(this.#timer);
    if (!this.#reason) return renew();
    if (this.#failures > MAX_FAILURES) {
      const text = `no secure connection to the media server (${this.#reason}), ${this.#failures} times`;
      return giveUp(new SpillwayError('media_failed', text, false));
    }
    this.#timer = setTimeout(renew, FIRST_PAUSE_MS * 2 ** (this.#failures - 1));
  }

  close() {
    clearTimeout(this.#timer);
  }
}
