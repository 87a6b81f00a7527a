/** Tests `still.js` without a browser; `scripts/test contracts` runs it. */
import assert from 'node:assert/strict';
import { networkHoldsStill } from './still.js';

const settled = 'fe80000000000000 02 40 20 80 eth0\n\neth0 up\n';
const trying = 'fe80000000000000 02 40 20 c0 eth0\n\neth0 up\n';

async function took(look) {
  const startedMs = Date.now();
  await networkHoldsStill([], async () => look(Date.now() - startedMs));
  return Date.now() - startedMs;
}

const quiet = await took(() => settled);
assert.ok(quiet >= 1_000 && quiet < 2_000, `a still network: ${quiet} ms`);
const late = await took((ms) => (ms < 700 ? '\n\neth0 down\n' : settled));
assert.ok(late >= 1_600, `a link that comes up after 700 ms: ${late} ms`);
const tried = await took((ms) => (ms < 1_500 ? trying : settled));
assert.ok(tried >= 2_400, `an address that is tried for 1,500 ms: ${tried} ms`);
await networkHoldsStill();
console.log('holds still');
