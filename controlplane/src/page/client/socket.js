/**
 * One WebSocket: matches replies to requests, sends pings, and detects a broken connection.
 * client/connection.js reconnects.
 */
import { SpillwayError, errorOf } from './errors.js';

/** Interval between pings of a silent socket. */
const PING_EVERY_MS = 10_000;
/** Time without a reply to a ping after which the socket counts as broken. */
const PONG_WITHIN_MS = 5_000;
/** Time limit for opening. */
const OPEN_WITHIN_MS = 5_000;
/** Time limit for replies to other requests. */
const REPLY_WITHIN_MS = 10_000;
/** Request ids are unsigned 32-bit integers. */
const MAX_ID = 4_294_967_295;

/** Close codes after which the client must not reconnect (docs/protocol.md, "Errors"). */
const FINAL_CLOSE_CODES = new Map([
  [1000, ['left', 'left the room']],
  [4400, ['bad_message', 'the server did not understand this client']],
  [4401, ['token_invalid', 'the server refused the token']],
  [4409, ['replaced', 'the same identity joined from somewhere else']],
]);

export class Socket {
  #ws;
  #pending = new Map();
  #nextId = 1;
  #pingTimer = 0;
  #pongTimer = 0;
  #closing = null;
  #ended = false;
  #onMessage;
  #onClose;

  /**
   * @param {string} url
   * @param {{onMessage: (message: object) => void, onClose: (error: SpillwayError, afterMs: number) => void}} handlers
   *   `onMessage` gets messages that are not replies; `onClose` is called once, also if opening failed.
   */
  constructor(url, { onMessage, onClose }) {
    this.#onMessage = onMessage;
    this.#onClose = onClose;
    this.#ws = new WebSocket(url);
    const openTimer = setTimeout(() => this.#end('unreachable', 'the server does not answer'), OPEN_WITHIN_MS);
    /** Resolves when messages can be sent. */
    this.opened = new Promise((resolve, reject) => {
      this.#pending.set('open', { resolve, reject, timer: openTimer });
    });
    this.opened.catch(() => {});
    this.#ws.onopen = () => {
      this.#settle('open', 'resolve');
      this.#pingTimer = setInterval(() => this.ping(), PING_EVERY_MS);
    };
    this.#ws.onmessage = (event) => this.#receive(event.data);
    this.#ws.onclose = (event) => this.#closed(event);
  }

  /**
   * Sends a message and waits for its reply.
   * @returns {Promise<object>} rejects with SpillwayError
   */
  request(type, fields = {}) {
    if (this.#ended || this.#ws.readyState !== WebSocket.OPEN) {
      return Promise.reject(new SpillwayError('disconnected', `not connected, ${type} was not sent`, true));
    }
    const id = this.#nextId;
    this.#nextId = id >= MAX_ID ? 1 : id + 1;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new SpillwayError('timeout', `no reply to ${type} within ${REPLY_WITHIN_MS} ms`, true));
      }, REPLY_WITHIN_MS);
      this.#pending.set(id, { resolve, reject, timer });
      this.#ws.send(JSON.stringify({ type, id, ...fields }));
    });
  }

  /** Sends a ping. The socket is closed if there is no reply in time. */
  ping() {
    if (this.#pongTimer || this.#ws.readyState !== WebSocket.OPEN) return;
    this.#ws.send('{"type":"ping"}');
    this.#pongTimer = setTimeout(() => this.#end('disconnected', 'the connection went silent'), PONG_WITHIN_MS);
  }

  /** Drops the socket at once, without waiting for the peer's close frame. */
  abandon(reason = 'given up') {
    this.#end('disconnected', reason);
  }

  #receive(data) {
    clearTimeout(this.#pongTimer);
    this.#pongTimer = 0;
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return this.#end('bad_message', 'the server sent something that is not JSON');
    }
    if (message.type === 'pong') return;
    if (message.type === 'closing') this.#closing = message;
    if (message.id !== undefined && message.id !== null && this.#pending.has(message.id)) {
      if (message.type !== 'error') return this.#settle(message.id, 'resolve', message);
      return this.#settle(message.id, 'reject', errorOf(message));
    }
    this.#onMessage(message);
  }

  #settle(id, how, value) {
    const waiting = this.#pending.get(id);
    if (!waiting) return;
    clearTimeout(waiting.timer);
    this.#pending.delete(id);
    waiting[how](value);
  }

  #closed(event) {
    const closing = this.#closing;
    if (closing?.resume) return this.#end('disconnected', closing.reason, closing.after_ms ?? 0);
    const final = FINAL_CLOSE_CODES.get(event.code);
    if (final) return this.#fail(new SpillwayError(final[0], event.reason || closing?.reason || final[1]), 0);
    if (closing) return this.#fail(new SpillwayError('closed', closing.reason), 0);
    this.#end(this.#pending.has('open') ? 'unreachable' : 'disconnected', event.reason || 'the connection broke');
  }

  #end(code, message, afterMs = 0) {
    this.#fail(new SpillwayError(code, message, true), afterMs);
  }

  #fail(error, afterMs) {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#pingTimer);
    clearTimeout(this.#pongTimer);
    for (const id of [...this.#pending.keys()]) this.#settle(id, 'reject', error);
    this.#ws.onopen = this.#ws.onmessage = this.#ws.onclose = null;
    this.#ws.close();
    this.#onClose(error, afterMs);
  }
}
