/** Values computed from events. Times in which the host stood still do not count as freezes. */
import { ranMs } from '../../browser/rig/clock.js';

/** Time without a complete frame after which a picture counts as frozen. */
export const FROZEN_FROM_MS = 500;

/**
 * @param {number[]} times of frames
 * @returns {{longest_ms: number, frozen: number}} longest pause, and frozen fraction of the time, 0 to 1
 */
export function freezes(times, fromMs, toMs) {
  const within = [fromMs, ...times.filter((at) => at > fromMs && at < toMs), toMs];
  const pauses = within.slice(1).map((at, index) => ranMs(within[index], at));
  const frozen = pauses.filter((pause) => pause > FROZEN_FROM_MS).reduce((sum, pause) => sum + pause, 0);
  return { longest_ms: Math.round(Math.max(...pauses)), frozen: frozen / Math.max(1, ranMs(fromMs, toMs)) };
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return null;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function rounded(value, digits = 0) {
  return value === null || value === undefined ? null : Number(value.toFixed(digits));
}
