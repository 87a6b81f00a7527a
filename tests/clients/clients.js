/** Other people's WebRTC stacks against one Spillway: see run.sh. */
import { pairs, printPairs } from './parts/pairs.js';
import { Checks } from './rig/checks.js';
import { KINDS, onStage } from './rig/stage.js';

const ALL_PARTS = ['pairs'];
const parts = (process.env.CLIENTS_PARTS || ALL_PARTS.join(',')).split(',');
const only = (process.env.CLIENTS_ONLY || '').split(',').filter(Boolean);

const unknown = [...parts.filter((part) => !ALL_PARTS.includes(part)), ...only.flatMap((one) => one.split('>')).filter((kind) => kind && !KINDS.includes(kind))];
if (unknown.length > 0) {
  console.error(`no part or client '${unknown.join("', '")}'; parts: ${ALL_PARTS.join(' ')}; clients here: ${KINDS.join(' ')}`);
  process.exit(2);
}

/** `--only pion`: all pairs with it; `--only pion>firefox`: this one; `--only 'pion>'`: all that watch it. */
function isWanted(publisher, viewer) {
  if (only.length === 0) return true;
  return only.some((one) => {
    if (!one.includes('>')) return one === publisher || one === viewer;
    const [of, by] = one.split('>');
    return (!of || of === publisher) && (!by || by === viewer);
  });
}

const checks = new Checks();
const figures = {};
try {
  await onStage(async (stage) => {
    if (parts.includes('pairs')) {
      figures.pairs = await pairs(stage, checks, { publishers: KINDS, viewers: KINDS, isWanted, codec: 'vp8' });
    }
  });
} catch (error) {
  checks.expect(false, 'the suite', error.message, 'no error');
}
if (figures.pairs) printPairs(figures.pairs);
process.exit(checks.report('clients', figures));
