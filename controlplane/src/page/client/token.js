/** Tokens from the application: whether one has expired, and how to get a new one in time. */
import { SpillwayError } from './errors.js';
import { claimsOf } from './permissions.js';

/**
 * True if there is no token, or it has expired: a new token permits a longer stay. A token that cannot be read
 * counts as valid.
 */
export function isOver(token) {
  if (!token) return true;
  const ends = claimsOf(token)?.exp;
  return typeof ends === 'number' && ends * 1000 <= Date.now();
}

/** Errors other than a refusal are temporary: the next attempt asks again. */
export async function freshToken(ask) {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof SpillwayError) throw error;
    throw new SpillwayError('unreachable', `no token: ${error.message}`, true);
  }
}

/** Rejects if `promise` takes longer than the limit. */
export async function within(promise, ms) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new SpillwayError('timeout', `no answer within ${ms} ms`, true)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
