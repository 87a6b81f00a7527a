/**
 * Waits until the addresses, routes and links of a network no longer change. If a browser sees a change, such as the
 * end of duplicate address detection (RFC 4862) or a new link, its requests fail with ERR_NETWORK_CHANGED.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ranMs } from './clock.js';
import { sleep } from './wait.js';

const run = promisify(execFile);

/** Time without a change after which the network counts as still. */
const STILL_MS = 1_000;
const POLL_MS = 100;
const WITHIN_MS = 30_000;
/** IFA_F_TENTATIVE (if_addr.h). */
const TENTATIVE = 0x40;

const LOOK = `cat /proc/net/if_inet6 2>/dev/null; echo; cat /proc/net/fib_trie /proc/net/route 2>/dev/null
  for link in /sys/class/net/*; do echo "\${link##*/} $(cat "$link/operstate" 2>/dev/null)"; done`;

/**
 * @param {string[]} [inside] command prefix that runs a program in a namespace
 * @param {(inside: string[]) => Promise<string>} [look] reads the state: if_inet6, an empty line, routes and links
 */
export async function networkHoldsStill(inside = [], look = lookInside) {
  const startedMs = Date.now();
  let last = await look(inside);
  let sinceMs = Date.now();
  while (Date.now() - sinceMs < STILL_MS || isTrying(last)) {
    if (ranMs(startedMs) > WITHIN_MS) throw new Error(`the network did not hold still for ${STILL_MS} ms within ${WITHIN_MS} ms:\n${last}`);
    await sleep(POLL_MS);
    const now = await look(inside);
    if (now !== last) sinceMs = Date.now();
    last = now;
  }
}

async function lookInside(inside) {
  const [program, ...args] = [...inside, 'sh', '-c', LOOK];
  const { stdout } = await run(program, args);
  return stdout;
}

/** Lines of if_inet6: address, index, prefix length, scope, flags, name. */
function isTrying(seen) {
  const addresses = seen.split('\n\n')[0].split('\n');
  return addresses.some((line) => parseInt(line.trim().split(/\s+/)[4] ?? '0', 16) & TENTATIVE);
}
