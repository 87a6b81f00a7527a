/** Other WebRTC stacks against one Spillway, see run.sh. */
import { handshake, printHandshake } from './parts/handshake.js';
import { late, printLate } from './parts/late.js';
import { loss, printLoss } from './parts/loss.js';
import { h264, pairs, printPairs } from './parts/pairs.js';
import { printStay, stay } from './parts/stay.js';
import { printUdp, udp } from './parts/udp.js';
import { Checks } from './rig/checks.js';
import { KINDS, onStage } from './rig/stage.js';

/**
 * The parts, with the function that prints the figures. `udp` uses a Spillway that also accepts media over TCP
 * (the default).
 */
const PARTS = {
  pairs: [pairs, printPairs],
  h264: [h264, printPairs],
  stay: [stay, printStay],
  loss: [loss, printLoss],
  late: [late, printLate],
  handshake: [handshake, printHandshake],
  udp: [udp, printUdp],
};

const list = (text) => (text || '').split(',').filter(Boolean);
const parts = process.env.CLIENTS_PARTS ? list(process.env.CLIENTS_PARTS) : Object.keys(PARTS);
const wanted = list(process.env.CLIENTS_ONLY);

const unknown = [...parts.filter((part) => !PARTS[part]), ...wanted.flatMap((one) => one.split('>')).filter((kind) => kind && !KINDS.includes(kind))];
if (unknown.length > 0) {
  console.error(`no part or client '${unknown.join("', '")}'; parts: ${Object.keys(PARTS).join(' ')}; clients here: ${KINDS.join(' ')}`);
  process.exit(2);
}

/**
 * `pion`: all pairs with pion; `pion>firefox`: one pair; `pion>`: all viewers of pion; `>pion`: all publishers
 * that pion views.
 */
function only(publisher, viewer) {
  if (wanted.length === 0) return true;
  return wanted.some((one) => {
    if (!one.includes('>')) return one === publisher || one === viewer;
    const [of, by] = one.split('>');
    return (!of || of === publisher) && (!by || by === viewer);
  });
}

async function run(some, options) {
  if (some.length === 0) return;
  await onStage(async (stage) => {
    for (const part of some) {
      const startedMs = Date.now();
      figures[part] = await PARTS[part][0](stage, checks, { kinds: KINDS, only });
      console.log(`${part}: ${Math.round((Date.now() - startedMs) / 1_000)} s`);
    }
  }, options);
}

const checks = new Checks();
const figures = {};
try {
  const isOverTcp = (part) => part === 'udp';
  await run(parts.filter((part) => !isOverTcp(part)), { iceTcp: false });
  await run(parts.filter(isOverTcp), { iceTcp: true });
} catch (error) {
  checks.expect(false, 'the suite', error.message, 'no error');
}
for (const part of parts.filter((each) => figures[each])) PARTS[part][1](figures[part]);
process.exit(checks.report('clients', figures));
