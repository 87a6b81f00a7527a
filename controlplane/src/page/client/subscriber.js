/**
 * The subscribe peer connection: answers the server's offers, one at a time, and maps tracks to
 * m-lines.
 */
import { withOfferedStereo } from './encodings.js';
import { reconfigure } from './relays.js';

export class Subscriber {
  #pc = null;
  #queue = Promise.resolve();
  #generation = 0;
  #answered = null;
  #request;
  #iceServers;
  #changed;
  #failed;

  /** @type {Map<string, RTCRtpTransceiver>} by track id */
  transceivers = new Map();

  /**
   * @param {object} owner
   * @param {(type: string, fields: object) => Promise<object>} owner.request
   * @param {() => Promise<RTCIceServer[]>} owner.iceServers to gather candidates with
   * @param {() => void} owner.changed `transceivers` changed
   * @param {(error: Error | null) => void} owner.failed ICE, DTLS or an offer failed
   */
  constructor({ request, iceServers, changed, failed }) {
    this.#request = request;
    this.#iceServers = iceServers;
    this.#changed = changed;
    this.#failed = failed;
  }

  /** Sets ICE servers for the next ICE restart, which only the server starts. */
  setIceServers(servers) {
    if (this.#pc) reconfigure(this.#pc, servers);
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
        // The server repeats an unanswered offer after a broken socket, and replaces an outdated
        // one.
        if (generation === this.#generation && !error.retry && error.code !== 'stale_answer') this.#failed(error);
      }
    });
  }

  /** Closes the peer connection and its media. The next offer creates a new one. */
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
    const iceServers = this.#pc ? null : await this.#iceServers();
    if (generation !== this.#generation) return;
    const pc = (this.#pc ??= this.#connect(iceServers, generation));
    await pc.setRemoteDescription({ type: 'offer', sdp: offer.sdp });
    const { sdp: written } = await pc.createAnswer();
    await pc.setLocalDescription({ type: 'answer', sdp: withOfferedStereo(written, offer.sdp) });
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

  #connect(iceServers, generation) {
    const pc = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' });
    sendCandidates(pc, 'subscribe', this.#request);
    pc.onconnectionstatechange = () => {
      if (generation === this.#generation && pc.connectionState === 'failed') this.#failed(null);
    };
    return pc;
  }
}

/**
 * Sends candidates to the server (trickle ICE). Candidates wait until `pc.releaseCandidates()` is called, after
 * the description that they belong to was sent.
 */
export function sendCandidates(pc, name, request) {
  let waiting = [];
  const send = (candidate) => request('candidate', { pc: name, candidate }).catch(() => {});
  pc.releaseCandidates = () => {
    waiting?.forEach(send);
    waiting = null;
  };
  pc.onicecandidate = ({ candidate }) => {
    // A server cannot resolve mDNS names. It learns these addresses from connectivity checks.
    if (!candidate?.candidate || / [^ ]+\.local /.test(candidate.candidate)) return;
    if (waiting) waiting.push(candidate.candidate);
    else send(candidate.candidate);
  };
}
