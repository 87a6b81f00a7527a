/**
 * Time in which the host ran. A virtual machine is taken off its cores for a second now and then, and nothing a
 * program does can come in time then: limits count what is left. tests/src/clock.rs does the same.
 *
 * A process on each core looks at the clock every few milliseconds; where it comes late, its core stood still.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

const TICK_MS = 5;
/** Later than this, a core stood still; less is the scheduler's usual business. */
const LATE_MS = 25;

/** What each process runs: a line for each time its core stood still, from when to when. */
const LOOK = `
let next = Date.now() + ${TICK_MS};
setInterval(() => {
  const now = Date.now();
  if (now > next + ${LATE_MS}) console.log(next + ' ' + now);
  next = now + ${TICK_MS};
}, ${TICK_MS});
process.stdout.on('error', () => process.exit());
process.stdin.on('end', () => process.exit()).resume();
`;

/** [from, to] of every time a core stood still, as Date.now() has it. */
const spans = [];

for (const core of cores()) {
  const child = spawn('taskset', ['-c', String(core), process.execPath, '-e', LOOK], { stdio: ['pipe', 'pipe', 'ignore'] });
  let rest = '';
  child.stdout.setEncoding('latin1').on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) spans.push(line.split(' ').map(Number));
  });
  // They end with us, and do not keep us.
  for (const handle of [child, child.stdin, child.stdout]) handle.unref();
}

/** Milliseconds in which at least one core stood still between the two. */
export function stoodStillMs(fromMs, toMs = Date.now()) {
  let total = 0;
  let seen = fromMs;
  for (const [start, end] of [...spans].sort(([a], [b]) => a - b)) {
    const from = Math.max(start, seen);
    const to = Math.min(end, toMs);
    if (to <= from) continue;
    total += to - from;
    seen = to;
  }
  return total;
}

/** Milliseconds the host ran between the two. */
export function ranMs(fromMs, toMs = Date.now()) {
  return toMs - fromMs - stoodStillMs(fromMs, toMs);
}

/** The cores we may run on. */
function cores() {
  const [, list] = readFileSync('/proc/self/status', 'latin1').match(/^Cpus_allowed_list:\s*(\S+)/m);
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
