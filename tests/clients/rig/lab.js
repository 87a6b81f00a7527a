/**
 * Two namespaces (scripts/lab): the server and publishers in `sfu`, viewers in `world`. One datagram is one packet, so
 * each loss is the loss of one packet. `loss` sets the loss of packets to viewers.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { until } from '../../browser/rig/wait.js';

const run = promisify(execFile);
const LAB = new URL('../../../scripts/lab', import.meta.url).pathname;
const LINKS = { sfu: 'veth-sfu', world: 'veth-world' };
/** libnice gathers no candidates of interfaces whose names start with veth. */
const LINK = 'lab0';
const UP_WITHIN_MS = 10_000;
/** The default in scripts/lab. */
export const SERVER = '10.63.0.1';

export class Lab {
  #name = `spillway-clients-${process.pid}`;

  async up() {
    await this.#lab('up');
    for (const [side, link] of Object.entries(LINKS)) {
      const namespace = `${this.#name}-${side}`;
      for (const change of [['down'], ['name', LINK]]) await run('ip', ['-n', namespace, 'link', 'set', link, ...change]);
      await run('ip', ['-n', namespace, 'link', 'set', LINK, 'up']);
    }
    for (const side of Object.keys(LINKS)) {
      const namespace = `${this.#name}-${side}`;
      await run('ip', ['netns', 'exec', namespace, 'ethtool', '-K', LINK, 'tso', 'off', 'gso', 'off', 'gro', 'off', 'tx-udp-segmentation', 'off']);
      const isUp = async () => /state UP/.test((await run('ip', ['-n', namespace, 'link', 'show', LINK])).stdout);
      await until(isUp, `${LINK} of ${side} to be up`, UP_WITHIN_MS);
    }
  }

  /** Command prefix that runs a program on that side. */
  enter(side) {
    return ['ip', 'netns', 'exec', `${this.#name}-${side}`];
  }

  /** @param {number} percent percentage of UDP packets to viewers that are dropped; 0: none */
  async loss(percent) {
    await this.#nft('delete', 'table', 'inet', 'clients').catch(() => {});
    if (percent === 0) return;
    await this.#nft(`table inet clients { counter lost {}; counter met {}; chain ingress { type filter hook prerouting priority -300; iifname "${LINK}" ip protocol udp counter name met numgen random mod 1000 < ${percent * 10} counter name lost drop; }; }`);
  }

  /** Counts the bytes that reach viewers over UDP and TCP from now on, see `counts`. */
  async count() {
    await this.loss(0);
    const rules = ['udp', 'tcp'].map((protocol) => `ip protocol ${protocol} counter name ${protocol}_bytes;`).join(' ');
    await this.#nft(`table inet clients { counter udp_bytes {}; counter tcp_bytes {}; chain each { ${rules} }; chain ingress { type filter hook prerouting priority -300; iifname "${LINK}" jump each; }; }`);
  }

  /**
   * After `loss`: dropped packets, and all packets that the rule has seen. After `count`: bytes.
   * @returns {Promise<{lost: number, met: number} | {udp_bytes: number, tcp_bytes: number}>}
   */
  async counts() {
    const { stdout } = await this.#nft('-j', 'list', 'counters');
    const value = ({ name, packets, bytes }) => [name, name.endsWith('_bytes') ? bytes : packets];
    return Object.fromEntries(JSON.parse(stdout).nftables.flatMap(({ counter }) => (counter ? [value(counter)] : [])));
  }

  /** Ends all processes inside, and removes the namespaces. */
  async down() {
    await this.#lab('down');
  }

  #nft(...args) {
    return run('ip', ['netns', 'exec', `${this.#name}-world`, 'nft', ...args]);
  }

  #lab(command) {
    return run(LAB, [command], { env: { ...process.env, LAB: this.#name } });
  }
}
