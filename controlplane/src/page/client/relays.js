/**
 * TURN servers of this participant, and the expiry of their credentials: new credentials are requested before a peer
 * connection uses expired ones. The peer connections themselves are in publisher.js and subscriber.js.
 */

/** Time before their expiry from which credentials count as expired, because candidates are gathered later. */
const MARGIN_MS = 30_000;
/** Time that a new peer connection waits for new credentials. Most networks need no TURN. */
const RENEW_WITHIN_MS = 3_000;

export class Relays {
  /** @type {RTCIceServer[]} */
  #servers = [];
  #oldAtMs = Infinity;
  #renewal = null;
  #request;
  #changed;

  /**
   * @param {object} owner
   * @param {(type: string, fields: object) => Promise<object>} owner.request
   * @param {(servers: RTCIceServer[]) => void} owner.changed called with the new servers
   */
  constructor({ request, changed }) {
    this.#request = request;
    this.#changed = changed;
  }

  /** @param {{ice_servers?: RTCIceServer[], ice_ttl_s?: number}} message `joined` or `ice_servers` */
  take({ ice_servers: servers = [], ice_ttl_s: ttlS }) {
    const ttlMs = ttlS * 1_000;
    this.#servers = servers;
    // Servers of earlier versions send no lifetime, and have no request for new credentials.
    this.#oldAtMs = ttlMs > 0 ? Date.now() + ttlMs - Math.min(MARGIN_MS, ttlMs / 2) : Infinity;
    this.#changed(servers);
  }

  /**
   * ICE servers for gathering candidates now. Never rejects, and resolves within a limit.
   * @returns {Promise<RTCIceServer[]>}
   */
  async fresh() {
    if (Date.now() >= this.#oldAtMs) {
      this.#renewal ??= this.#renew();
      let timer;
      const late = new Promise((resolve) => (timer = setTimeout(resolve, RENEW_WITHIN_MS)));
      await Promise.race([this.#renewal, late]);
      clearTimeout(timer);
    }
    return this.#servers;
  }

  async #renew() {
    try {
      this.take(await this.#request('ice_servers', {}));
    } catch {
      // After a broken socket the next `joined` has new credentials; otherwise the next peer
      // connection requests them.
    }
    this.#renewal = null;
  }
}

/** Sets the ICE servers for the next gathering of `pc`. Everything else stays, because most settings are fixed. */
export function reconfigure(pc, iceServers) {
  try {
    pc.setConfiguration({ ...pc.getConfiguration(), iceServers });
  } catch {
    // Firefox supports this since version 119. In earlier versions a connection keeps its servers.
  }
}
