/** One Spillway in a lab, and the client processes. Everything is removed at the end, also after errors. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Spillway } from '../../browser/rig/server.js';
import { Client } from './client.js';
import { Lab, SERVER } from './lab.js';

const ROOT = new URL('../../..', import.meta.url).pathname;
const MADE = process.env.CLIENTS_DIR ?? `${ROOT}target/clients`;
/** Address of the data plane, the only host in the namespace. */
const METRICS = 'http://127.0.0.1:9464/metrics';
/** Time limit for the start of a browser on a busy host. */
const READY_WITHIN_MS = 120_000;

const python = (program) => [`${MADE}/venv/bin/python`, `${ROOT}tests/clients/python/${program}`];
const browser = (kind) => (url) => ['node', `${ROOT}tests/clients/browser_client.js`, kind, url];

/** Command of each client, and additional fields of its join commands. */
const PROGRAMS = {
  aiortc: { command: () => python('aiortc_client.py') },
  'gstreamer-rsa': { command: () => python('gstreamer_client.py') },
  'gstreamer-ec': { command: () => python('gstreamer_client.py'), fields: { certificate: 'ec' } },
  pion: { command: () => [`${MADE}/pion`, `${MADE}/media`] },
  chromium: { command: browser('chromium') },
  firefox: { command: browser('firefox') },
};

/** All clients that are available. */
export const KINDS = Object.keys(PROGRAMS).filter((kind) => kind !== 'pion' || existsSync(`${MADE}/pion`));

export class Stage {
  lab = new Lab();
  #server = null;
  #clients = new Map();
  #number = 0;

  /** @param {boolean} iceTcp whether media may go over TCP; nothing is lost there */
  async open(iceTcp) {
    await this.lab.up();
    const args = ['--ice-tcp', String(iceTcp)];
    this.#server = await Spillway.start({ address: SERVER, advertise: [SERVER], inside: this.lab.enter('sfu'), args });
  }

  /** The process of a kind of client on a side of the lab. */
  async client(kind, side) {
    const key = `${kind} in ${side}`;
    let client = this.#clients.get(key);
    if (!client?.isRunning) {
      client = new Client(kind, [...this.lab.enter(side), ...PROGRAMS[kind].command(this.#server.url)]);
      this.#clients.set(key, client);
    }
    const isReady = await client.event('', ({ event }) => event === 'ready', READY_WITHIN_MS);
    if (!isReady) throw new Error(`${key} did not start: ${client.stderr}`);
    return client;
  }

  /** Ends the process of a kind of client, to free CPU time. */
  async end(kind, side) {
    await this.#clients.get(`${kind} in ${side}`)?.stop();
  }

  /**
   * Publishers are in the namespace of the server, viewers in the namespace `world`.
   * @param {{kind: string, room: string, publish?: 'vp8' | 'h264'}} what fields of the join
   */
  async join({ kind, room, publish = null, ...more }) {
    const client = await this.client(kind, publish ? 'sfu' : 'world');
    const identity = `${publish ? 'publisher' : 'viewer'}-${kind}-${++this.#number}`;
    return client.join(identity, { url: this.#server.url, room, publish, ...PROGRAMS[kind].fields, ...more });
  }

  /** Time when DTLS of a subscribe session was first established at the server; null: not yet. */
  async connectedAtMs(sinceMs) {
    const log = await readFile(join(this.#server.stateDir, 'dataplane.log'), 'utf8');
    const times = [...log.matchAll(/^(\S+)Z .*session connected session="[^"]*:s"/gm)].map(([, at]) => Date.parse(`${at.slice(0, 23)}Z`));
    return times.find((at) => at >= sinceMs) ?? null;
  }

  /** A counter of the data plane, summed over shards and, if given, over those with `label`. */
  async counter(name, label = '') {
    const [program, ...args] = [...this.lab.enter('sfu'), 'curl', '-fs', METRICS];
    const { stdout } = await promisify(execFile)(program, args);
    const lines = stdout.split('\n').filter((line) => line.startsWith(`${name}{`) && line.includes(label));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }

  log() {
    return this.#server?.logTail() ?? '';
  }

  async close() {
    await Promise.allSettled([...this.#clients.values()].map((client) => client.stop()));
    await this.#server?.stop().catch((error) => console.error(error.message));
    await this.lab.down();
  }
}

/** Runs `work` with a lab and removes it afterwards, also after an interrupt. */
export async function onStage(work, { iceTcp = false } = {}) {
  const stage = new Stage();
  let isClosing = false;
  const close = async () => {
    if (isClosing) return;
    isClosing = true;
    await stage.close();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  const interrupted = () => close().finally(() => process.exit(1));
  for (const signal of signals) process.once(signal, interrupted);
  try {
    await stage.open(iceTcp);
    return await work(stage);
  } catch (error) {
    console.error(error.stack);
    console.error(await stage.log());
    throw error;
  } finally {
    await close();
    for (const signal of signals) process.off(signal, interrupted);
  }
}
