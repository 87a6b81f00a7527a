/**
 * Handshakes that failed: a certificate that was refused is refused again at once. The pauses double, and after some the
 * application is told.
 */

import { SpillwayError } from './errors.js';

/** Failures in a row after which it is not tried again. */
const MAX_FAILURES = 3;
/** Failures further apart are not in a row. */
const IN_A_ROW_MS = 60_000;
const FIRST_PAUSE_MS = 1_000;

export class Handshakes {
  #reason = '';
  #failures = 0;
  #failedAt = 0;
  #timer = 0;

  /** Media was lost: because a handshake failed, where there is a reason. */
  lost(reason) {
    clearTimeout(this.#timer);
    this.#reason = reason ?? '';
    if (!reason) return;
    const now = Date.now();
    this.#failures = now - this.#failedAt < IN_A_ROW_MS ? this.#failures + 1 : 1;
    this.#failedAt = now;
  }

  /** Media is there again: calls `renew` now or later, or `giveUp` with an error. */
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
