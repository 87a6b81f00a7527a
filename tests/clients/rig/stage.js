/** One Spillway in one lab, and the processes of clients; all of it goes away, whatever happens. */
import { existsSync } from 'node:fs';
import { Spillway } from '../../browser/rig/server.js';
import { Client } from './client.js';
import { Lab, SERVER } from './lab.js';

const ROOT = new URL('../../..', import.meta.url).pathname;
const MADE = process.env.CLIENTS_DIR ?? `${ROOT}target/clients`;
/** A busy host starts browsers slowly. */
const READY_WITHIN_MS = 120_000;

const python = (program) => [`${MADE}/venv/bin/python`, `${ROOT}tests/clients/python/${program}`];
const browser = (kind) => (url) => ['node', `${ROOT}tests/clients/browser_client.js`, kind, url];

/** How each client is started, and what its participants are told beside the usual. */
const PROGRAMS = {
  aiortc: { command: () => python('aiortc_client.py') },
  'gstreamer-rsa': { command: () => python('gstreamer_client.py') },
  'gstreamer-ec': { command: () => python('gstreamer_client.py'), fields: { certificate: 'ec' } },
  pion: { command: () => [`${MADE}/pion`, `${MADE}/media`] },
  chromium: { command: browser('chromium') },
  firefox: { command: browser('firefox') },
};

/** All clients that can be here. */
export const KINDS = Object.keys(PROGRAMS).filter((kind) => kind !== 'pion' || existsSync(`${MADE}/pion`));

export class Stage {
  lab = new Lab();
  #server = null;
  #clients = new Map();
  #number = 0;

  async open() {
    await this.lab.up();
    this.#server = await Spillway.start({ address: SERVER, advertise: [SERVER], inside: this.lab.enter('sfu') });
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

  /** Ends the process of a kind, so that it takes no time from others. */
  async end(kind, side) {
    await this.#clients.get(`${kind} in ${side}`)?.stop();
  }

  /** @param {{kind: string, room: string, publish?: 'vp8' | 'h264'}} what a publisher sits beside the server, a viewer in the world */
  async join({ kind, room, publish = null, ...more }) {
    const client = await this.client(kind, publish ? 'sfu' : 'world');
    const identity = `${publish ? 'publisher' : 'viewer'}-${kind}-${++this.#number}`;
    return client.join(identity, { url: this.#server.url, room, publish, ...PROGRAMS[kind].fields, ...more });
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

/** Runs `work` on a stage; also ends it when it is interrupted. */
export async function onStage(work) {
  const stage = new Stage();
  let isClosing = false;
  const close = async () => {
    if (isClosing) return;
    isClosing = true;
    await stage.close();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, () => close().finally(() => process.exit(1)));
  }
  try {
    await stage.open();
    return await work(stage);
  } catch (error) {
    console.error(error.stack);
    console.error(await stage.log());
    throw error;
  } finally {
    await close();
  }
}
