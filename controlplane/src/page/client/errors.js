/** Promises of the client reject with a SpillwayError: an error of the server, the browser or a device, with a code. */

/**
 * An error with the server's code, or one of the client's own: `unreachable`, `disconnected`, `timeout`, `replaced`,
 * `left`, `unpublished`, `bad_option`, `not_joined`, `already_joined`, `media_failed`, and those of devices:
 * `device_refused`, `device_missing`, `device_busy`, `device_failed`, `insecure_context`.
 */
export class SpillwayError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {boolean} [retry] whether the same request may succeed later
   * @param {number} [afterMs] time to wait before a retry; 0 if the server sent none
   * @param {unknown} [cause] error of the browser, if there is one
   */
  constructor(code, message, retry = false, afterMs = 0, cause = undefined) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'SpillwayError';
    this.code = code;
    this.retry = retry;
    this.afterMs = afterMs;
  }
}

/** Converts an `error` message. */
export function errorOf({ code, message, retry, after_ms: afterMs }) {
  return new SpillwayError(code, message, Boolean(retry), afterMs ?? 0);
}

/** Converts the reason of a `media` message. */
export function lostMedia(reason) {
  const text = reason === 'node_full' ? 'the media server is full' : `no secure connection to the media server (${reason})`;
  return new SpillwayError(reason, text, true);
}

/** Converts an exception of a peer connection. */
export function mediaError(error) {
  return error instanceof SpillwayError ? error : new SpillwayError('media_failed', `the browser: ${error?.message ?? error}`, false, 0, error);
}

const DEVICE_CODES = {
  NotAllowedError: 'device_refused',
  SecurityError: 'device_refused',
  NotFoundError: 'device_missing',
  OverconstrainedError: 'device_missing',
  NotReadableError: 'device_busy',
  AbortError: 'device_failed',
};

/** Converts an error of `getUserMedia` or `getDisplayMedia`. */
export function deviceError(error, device) {
  if (error instanceof SpillwayError) return error;
  if (!globalThis.navigator?.mediaDevices) {
    return new SpillwayError('insecure_context', `there is no ${device} outside https:// and localhost`, false, 0, error);
  }
  const code = DEVICE_CODES[error?.name] ?? 'device_failed';
  return new SpillwayError(code, `${device}: ${error?.message || error?.name || error}`, false, 0, error);
}
