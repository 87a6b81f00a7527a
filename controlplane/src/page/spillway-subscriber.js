/**
 * The subscribe peer connection: answers the server's offers, one at a time, and knows which track
 * plays on which m-line.
 */

export class Subscriber {
  #pc = null;
  #queue = Promise.resolve();
  #generation = 0;
  #answered = null;
  #iceServers = [];
  #request;
  #changed;
  #failed;

  /** @type {Map<string, RTCRtpTransceiver>} by track id */
  transceivers = new Map();

  /**
   * @param {object} owner
   * @param {(type: string, fields: object) => Promise<object>} owner.request
   * @param {() => void} owner.changed `transceivers` changed
   * @param {(error: Error | null) => void} owner.failed ICE, DTLS or an offer failed
   */
  constructor({ request, changed, failed }) {
    this.#request = request;
    this.#changed = changed;
    this.#failed = failed;
  }

  setIceServers(servers) {
    this.#iceServers = servers;
  }

  get connectionState() {
    return this.#pc?.connectionState ?? 'new';
  }

  getStats() {
    return this.#pc?.getStats();
  }

  /** @param {{revision: number, sdp: string, tracks: {mid: string, track: string}[]}} offer */
  handleOffer(offer) {
    const generation = this.#generation;
    this.#queue = this.#queue.then(async () => {
      if (generation !== this.#generation) return;
      try {
        await this.#answer(offer, generation);
      } catch (error) {
        // The server repeats an offer that a broken socket left unanswered, and replaces a stale one.
        if (generation === this.#generation && !error.retry && error.code !== 'stale_answer') this.#failed(error);
      }
    });
  }

  /** Forgets the peer connection and all that plays on it. The next offer makes a new one. */
  discard() {
    this.#generation++;
    this.#queue = Promise.resolve();
    this.#answered = null;
    this.#pc?.close();
    this.#pc = null;
    this.transceivers = new Map();
    this.#changed();
  }

  async #answer(offer, generation) {
    const again = this.#answered;
    if (again && again.revision === offer.revision && again.offer === offer.sdp) {
      await this.#request('answer', { revision: again.revision, sdp: again.sdp });
      return;
    }
    const pc = (this.#pc ??= this.#connect(generation));
    await pc.setRemoteDescription({ type: 'offer', sdp: offer.sdp });
    await pc.setLocalDescription(await pc.createAnswer());
    if (generation !== this.#generation) return;
    const { sdp } = pc.localDescription;
    this.#answered = { revision: offer.revision, offer: offer.sdp, sdp };
    this.#map(pc, offer.tracks);
    const replied = this.#request('answer', { revision: offer.revision, sdp });
    pc.releaseCandidates();
    await replied;
  }

  #map(pc, tracks) {
    const byMid = new Map(pc.getTransceivers().map((transceiver) => [transceiver.mid, transceiver]));
    this.transceivers = new Map();
    for (const { mid, track } of tracks) {
      const transceiver = byMid.get(mid);
      if (transceiver) this.transceivers.set(track, transceiver);
    }
    this.#changed();
  }

  #connect(generation) {
    const pc = new RTCPeerConnection({ iceServers: this.#iceServers, bundlePolicy: 'max-bundle' });
    sendCandidates(pc, 'subscribe', this.#request);
    pc.onconnectionstatechange = () => {
      if (generation === this.#generation && pc.connectionState === 'failed') this.#failed(null);
    };
    return pc;
  }
}

/**
 * Trickles candidates to the server, but none before the description they belong to:
 * `pc.releaseCandidates()` opens the gate.
 */
export function sendCandidates(pc, name, request) {
  let waiting = [];
  const send = (candidate) => request('candidate', { pc: name, candidate }).catch(() => {});
  pc.releaseCandidates = () => {
    waiting?.forEach(send);
    waiting = null;
  };
  pc.onicecandidate = ({ candidate }) => {
    // A server cannot resolve mDNS names; it learns those addresses from the connectivity checks.
    if (!candidate?.candidate || / [^ ]+\.local /.test(candidate.candidate)) return;
    if (waiting) waiting.push(candidate.candidate);
    else send(candidate.candidate);
  };
}
