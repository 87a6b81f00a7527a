/**
 * Time in which the host ran. A hypervisor may take the cores away for up to a second, and no program can keep a limit
 * then. So time limits count only the remaining time. tests/src/clock.rs does the same.
 *
 * A process on each core reads the clock every few milliseconds. If it is late, its core stood still.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

const TICK_MS = 5;
/** Delay above which a core counts as standing still; shorter delays are normal scheduling. */
const LATE_MS = 25;

/** Program of each process: prints a line with start and end of each standstill of its core. */
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

/** [from, to] of each standstill of a core, in ms like Date.now(). */
const spans = [];

for (const core of cores()) {
  const child = spawn('taskset', ['-c', String(core), process.execPath, '-e', LOOK], { stdio: ['pipe', 'pipe', 'ignore'] });
  let rest = '';
  child.stdout.setEncoding('latin1').on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) spans.push(line.split(' ').map(Number));
  });
  // These processes end with the test, and do not keep it running.
  for (const handle of [child, child.stdin, child.stdout]) handle.unref();
}

/** Milliseconds between the two times in which at least one core stood still. */
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

/** Milliseconds between the two times in which the host ran. */
export function ranMs(fromMs, toMs = Date.now()) {
  return toMs - fromMs - stoodStillMs(fromMs, toMs);
}

/** Cores that this process may use. */
function cores() {
  const [, list] = readFileSync('/proc/self/status', 'latin1').match(/^Cpus_allowed_list:\s*(\S+)/m);
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
