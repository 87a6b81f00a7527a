/**
 * One joined socket: opens it, joins, and reconnects after a failure, with growing random delays.
 * The owner (spillway.js) handles the content of `joined`.
 */
import { SpillwayError } from './errors.js';
import { Socket } from './socket.js';

const FIRST_DELAY_MS = 250;
const MAX_DELAY_MS = 4_000;
/** Time for which the first join is retried before `join()` rejects. */
const JOIN_WITHIN_MS = 15_000;

/**
 * Exponential backoff with jitter, in ms. Half of the delay is fixed, so that no client reconnects
 * without a pause. Half is random, so that the clients of a failed server reconnect at different times.
 * @param {number} attempt 0 for the first retry
 */
export function backoffMs(attempt, random = Math.random) {
  const step = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 10));
  return step / 2 + (random() * step) / 2;
}

export class Connection {
  #url;
  #handlers;
  #socket = null;
  #joined = false;
  #over = false;
  #wake = null;

  /**
   * @param {string} url WebSocket address
   * @param {object} handlers
   * @param {(last: SpillwayError | null) => Promise<object>} handlers.hello returns the fields of `join`; `last` is
   *   the error of the previous attempt
   * @param {() => boolean} handlers.canRefresh whether `hello` can get another token after a refusal
   * @param {(joined: object) => void} handlers.joined called synchronously before any later message
   * @param {(message: object) => void} handlers.message called for messages that are not replies
   * @param {(error: SpillwayError) => void} handlers.lost the joined socket broke; the connection is retried
   * @param {(error: SpillwayError) => void} handlers.over the connection has ended and is not retried
   */
  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
    globalThis.addEventListener?.('online', this.#look);
    globalThis.document?.addEventListener('visibilitychange', this.#look);
  }

  get joined() {
    return this.#joined;
  }

  /** Joins for the first time. Rejects when the join is refused, or the server stays unreachable. */
  async open() {
    try {
      await this.#joinUntil(Date.now() + JOIN_WITHIN_MS, 0);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  request(type, fields) {
    if (!this.#joined) return Promise.reject(new SpillwayError('disconnected', `not connected, ${type} was not sent`, true));
    return this.#socket.request(type, fields);
  }

  /** Drops the socket and reconnects with a new `join`, as after a network failure. */
  restart(reason) {
    this.#socket?.abandon(reason);
  }

  /** Reconnects now instead of after the pause. */
  retry() {
    this.#wake?.();
  }

  close() {
    this.#over = true;
    this.#joined = false;
    globalThis.removeEventListener?.('online', this.#look);
    globalThis.document?.removeEventListener('visibilitychange', this.#look);
    this.#wake?.();
    this.#socket?.abandon('left');
    this.#socket = null;
  }

  async #joinUntil(deadlineMs, firstDelayMs) {
    if (firstDelayMs > 0) await this.#sleep(firstDelayMs);
    let last = null;
    for (let attempt = 0; ; attempt++) {
      if (this.#over) throw new SpillwayError('left', 'left before the server answered');
      try {
        return await this.#attempt(last);
      } catch (error) {
        const tokenIsOld = error.code?.startsWith('token_') && last?.code !== error.code && this.#handlers.canRefresh();
        if (this.#over || (!error.retry && !tokenIsOld) || Date.now() > deadlineMs) throw error;
        last = error;
      }
      await this.#sleep(Math.max(backoffMs(attempt), last.afterMs ?? 0));
    }
  }

  async #attempt(last) {
    const fields = await this.#handlers.hello(last);
    if (this.#over) throw new SpillwayError('left', 'left before the server answered');
    const socket = new Socket(this.#url, {
      onMessage: (message) => socket === this.#socket && this.#handlers.message(message),
      onClose: (error, afterMs) => socket === this.#socket && this.#broken(error, afterMs),
    });
    this.#socket = socket;
    await socket.opened;
    try {
      const joined = await socket.request('join', fields);
      this.#joined = true;
      this.#handlers.joined(joined);
    } catch (error) {
      this.#socket = null;
      socket.abandon('join failed');
      throw error;
    }
  }

  #broken(error, afterMs) {
    this.#socket = null;
    if (!this.#joined) return;
    this.#joined = false;
    if (this.#over) return;
    if (!error.retry) return this.#finish(error);
    this.#handlers.lost(error);
    const delayMs = afterMs > 0 ? afterMs * (1 + Math.random() / 2) : Math.random() * FIRST_DELAY_MS;
    this.#joinUntil(Infinity, delayMs).catch((failure) => this.#finish(failure));
  }

  #finish(error) {
    if (this.#over) return;
    this.close();
    this.#handlers.over(error);
  }

  /** The network or the computer may have been suspended: check the socket now. */
  #look = () => {
    this.#wake?.();
    this.#socket?.ping();
  };

  #sleep(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(done, ms);
      const self = this;
      function done() {
        clearTimeout(timer);
        self.#wake = null;
        resolve();
      }
      this.#wake = done;
    });
  }
}
