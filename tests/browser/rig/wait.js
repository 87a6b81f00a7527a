/** Waits for a condition, with a time limit and a name for the error. */

import { ranMs } from './clock.js';

const POLL_MS = 100;

export function sleep(ms, value) {
  return new Promise((resolve) => setTimeout(resolve, ms, value));
}

/**
 * @template T
 * @param {() => T | Promise<T>} probe
 * @param {string} what description of the condition, for the error
 * @param {number} withinMs time limit in ms; only time in which the host ran counts
 * @returns {Promise<T>} the first truthy value
 */
export async function until(probe, what, withinMs) {
  const sinceMs = Date.now();
  let last;
  while (ranMs(sinceMs) < withinMs) {
    last = await probe();
    if (last) return last;
    await sleep(POLL_MS);
  }
  throw new Error(`waited ${withinMs} ms in vain for ${what}`);
}
