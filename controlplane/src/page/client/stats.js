/**
 * Converts getStats() reports into the numbers that the page shows. Rates are over the time since
 * the last reading of the same track.
 */

/**
 * @typedef {object} TrackStats
 * @property {number | null} kbps kilobit/s of media payload; null at the first reading
 * @property {number | null} rttMs round trip between this browser and the server, milliseconds
 * @property {number | null} lossFraction 0 to 1 since the last reading
 * @property {number | null} width pixels
 * @property {number | null} height pixels
 * @property {number | null} fps frames per second
 * @property {string} layer rid, '' without simulcast
 * @property {number} frames video frames decoded (remote) or encoded (local), cumulative
 * @property {number} packets received or sent, cumulative
 * @property {string | null} codec MIME type, such as 'video/VP8'; null before the first packet
 * @property {number} audioEnergy cumulative, see totalAudioEnergy in webrtc-stats; 0 for video
 */

export class StatsReader {
  #last = new Map();

  /**
   * @param {string} key of the track, for rates
   * @param {RTCStatsReport} report
   * @param {string | null} mid m-line
   * @returns {TrackStats}
   */
  received(key, report, mid, layer) {
    const stats = entries(report);
    const inbound = stats.find((entry) => entry.type === 'inbound-rtp' && entry.mid === mid) ?? {};
    const lost = Math.max(0, inbound.packetsLost ?? 0);
    const total = { bytes: inbound.bytesReceived ?? 0, packets: inbound.packetsReceived ?? 0, lost };
    return {
      ...this.#rates(key, total, inbound.timestamp),
      rttMs: pathRttMs(stats),
      ...picture(inbound),
      layer,
      frames: inbound.framesDecoded ?? 0,
      packets: total.packets,
      codec: codec(stats, inbound),
      audioEnergy: inbound.totalAudioEnergy ?? 0,
    };
  }

  /** Like `received`, for sent media: all simulcast layers together. */
  sent(key, report, mid) {
    const stats = entries(report);
    const layers = stats.filter((entry) => entry.type === 'outbound-rtp' && entry.mid === mid);
    const source = stats.find((entry) => entry.id === layers[0]?.mediaSourceId) ?? {};
    const remote = stats.filter((entry) => entry.type === 'remote-inbound-rtp' && layers.some((layer) => layer.id === entry.localId));
    const largest = layers.filter((layer) => layer.frameHeight > 0).sort((a, b) => b.frameHeight - a.frameHeight)[0];
    const total = {
      bytes: sum(layers, 'bytesSent'),
      packets: sum(layers, 'packetsSent'),
      lost: Math.max(0, sum(remote, 'packetsLost')),
    };
    return {
      ...this.#rates(key, total, layers[0]?.timestamp),
      rttMs: pathRttMs(stats) ?? milliseconds(remote[0]?.roundTripTime),
      ...picture(largest ?? {}),
      layer: largest?.rid ?? '',
      frames: sum(layers, 'framesEncoded'),
      packets: total.packets,
      codec: codec(stats, layers[0]),
      audioEnergy: source.totalAudioEnergy ?? 0,
    };
  }

  /** Totals of all m-lines: received audio packets and decoded video frames. */
  arrived(report) {
    const inbound = entries(report).filter((entry) => entry.type === 'inbound-rtp');
    const of = (kind) => inbound.filter((entry) => entry.kind === kind);
    return { packets: sum(of('audio'), 'packetsReceived'), frames: sum(of('video'), 'framesDecoded') };
  }

  forget(key) {
    this.#last.delete(key);
  }

  #rates(key, total, timestamp) {
    const last = this.#last.get(key);
    this.#last.set(key, { ...total, timestamp });
    const elapsedMs = timestamp - last?.timestamp;
    const isFirst = !last || !(elapsedMs > 0) || total.bytes < last.bytes;
    if (isFirst) return { kbps: null, lossFraction: null };
    const lost = Math.max(0, total.lost - last.lost);
    const expected = total.packets - last.packets + lost;
    return { kbps: ((total.bytes - last.bytes) * 8) / elapsedMs, lossFraction: expected > 0 ? lost / expected : 0 };
  }
}

function entries(report) {
  return report ? [...report.values()] : [];
}

function codec(stats, stream) {
  return stats.find((entry) => entry.type === 'codec' && entry.id === stream?.codecId)?.mimeType ?? null;
}

function picture(entry) {
  return { width: entry.frameWidth ?? null, height: entry.frameHeight ?? null, fps: entry.framesPerSecond ?? null };
}

function pathRttMs(stats) {
  const selected = stats.find((entry) => entry.type === 'transport')?.selectedCandidatePairId;
  const pair = stats.find((entry) => entry.type === 'candidate-pair' && (entry.id === selected || (entry.nominated && entry.state === 'succeeded')));
  return milliseconds(pair?.currentRoundTripTime);
}

function milliseconds(seconds) {
  return seconds === undefined ? null : seconds * 1000;
}

function sum(list, key) {
  return list.reduce((total, entry) => total + (entry[key] ?? 0), 0);
}
