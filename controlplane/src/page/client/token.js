/** Tokens of the application: whether one has ended, and another one in time. */
import { SpillwayError } from './errors.js';
import { claimsOf } from './permissions.js';

/** Whether there is no token, or it has ended: with another one a return is for longer. What cannot be read is not over. */
export function isOver(token) {
  if (!token) return true;
  const ends = claimsOf(token)?.exp;
  return typeof ends === 'number' && ends * 1000 <= Date.now();
}

/** Whatever keeps a token away, other than a refusal, may pass: the next attempt asks again. */
export async function freshToken(ask) {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof SpillwayError) throw error;
    throw new SpillwayError('unreachable', `no token: ${error.message}`, true);
  }
}

/** Rejects when `promise` takes longer. */
export async function within(promise, ms) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new SpillwayError('timeout', `no answer within ${ms} ms`, true)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
