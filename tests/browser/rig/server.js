/**
 * One Spillway per suite: `spillway up` on free ports, with its state in a temporary directory.
 * Processes are identified and ended by their process ids.
 */
import { spawn, execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdtemp, open, readFile, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sleep, until } from './wait.js';

const BINARIES = process.env.SPILLWAY_BIN_DIR ?? new URL('../../../target/release', import.meta.url).pathname;
const START_WITHIN_MS = 30_000;
const STOP_WITHIN_MS = 10_000;

export class Spillway {
  #args;
  #inside = [];
  #dir;
  #child = null;
  #log = null;
  #seen = new Set();

  /**
   * @param {{shards?: number, advertise?: string[], args?: string[], address?: string, inside?: string[]}} [options]
   *   inside: command prefix that starts the server, for example inside a namespace
   */
  static async start({ shards = 2, advertise = ['127.0.0.1'], args = [], address = '127.0.0.1', inside = [] } = {}) {
    const spillway = new Spillway();
    spillway.#dir = await mkdtemp(join(tmpdir(), 'spillway-browser-'));
    const port = await freeTcpPort();
    spillway.url = `http://${address}:${port}`;
    spillway.#inside = inside;
    spillway.#args = [
      'up', '--listen', `${address}:${port}`, '--udp-port', String(await freeUdpPort()), '--advertise', advertise.join(','),
      '--shards', String(shards), '--allowed-hosts', 'plain.test', '--state-dir', join(spillway.#dir, 'state'), ...args,
    ];
    await spillway.launch();
    return spillway;
  }

  get stateDir() {
    return join(this.#dir, 'state');
  }

  /** Starts the process, or restarts it with the same ports and state. */
  async launch() {
    this.#log ??= await open(join(this.#dir, 'log'), 'a');
    const [program, ...args] = [...this.#inside, join(BINARIES, 'spillway'), ...this.#args];
    const child = spawn(program, args, { stdio: ['ignore', this.#log.fd, this.#log.fd] });
    this.#child = child;
    const exited = new Promise((_, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => reject(new Error(`spillway up ended with ${code ?? signal}`)));
    });
    exited.catch(() => {});
    try {
      await Promise.race([exited, until(() => this.#answers(), 'spillway to answer', START_WITHIN_MS)]);
    } catch (error) {
      throw new Error(`${error.message}\n${await this.logTail()}`);
    }
    await this.mediaPid();
  }

  async #answers() {
    // Inside a namespace its API is not reachable, so the process writes its state to a file.
    if (this.#inside.length > 0) return Boolean(await readFile(join(this.stateDir, 'up.json'), 'utf8').catch(() => ''));
    const reply = await fetch(`${this.url}/`).catch(() => null);
    return Boolean(reply?.ok);
  }

  /** Kills the control plane with SIGKILL. The data plane continues. */
  async killControl() {
    await end(this.#child, 'SIGKILL');
  }

  /** Kills the data plane with SIGKILL. @returns {Promise<number>} its process id */
  async killMedia() {
    const pid = await this.mediaPid();
    process.kill(pid, 'SIGKILL');
    return pid;
  }

  /** Process id of the data plane. Waits until there is one other than `not`. */
  async mediaPid(not = 0) {
    const pid = await until(async () => (await this.#mediaPids()).find((candidate) => candidate !== not), 'a data plane', START_WITHIN_MS);
    this.#seen.add(pid);
    return pid;
  }

  /** Data planes with the test's state directory in their arguments or environment. */
  async #mediaPids() {
    const entries = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const found = await Promise.all(entries.map(async (name) => ((await this.#isOurMedia(name)) ? Number(name) : 0)));
    return found.filter((pid) => pid > 0);
  }

  async #isOurMedia(pid) {
    const read = (file) => readFile(`/proc/${pid}/${file}`, 'latin1').catch(() => '');
    const command = await read('cmdline');
    if (!command.split('\0')[0].endsWith('spillway-dataplane')) return false;
    return command.includes(this.#dir) || (await read('environ')).includes(this.#dir);
  }

  /** Runs a command of the CLI and parses its JSON. */
  async cli(...args) {
    const command = [...args, '--json', '--url', this.url, '--state-dir', this.stateDir];
    const { stdout } = await promisify(execFile)(join(BINARIES, 'spillway'), command);
    return JSON.parse(stdout);
  }

  /** @returns {Promise<string>} a token created by the CLI */
  async mint(...args) {
    const command = ['token', 'create', ...args, '--json', '--state-dir', this.stateDir];
    const { stdout } = await promisify(execFile)(join(BINARIES, 'spillway'), command);
    return JSON.parse(stdout).token;
  }

  /** @returns {Promise<string>} a demo token */
  async token(room, identity, name = identity) {
    const reply = await fetch(`${this.url}/v1/demo/token?${new URLSearchParams({ room, identity, name })}`);
    return (await reply.json()).token;
  }

  async logTail() {
    const read = (path) => readFile(path, 'utf8').catch(() => '');
    const names = await readdir(this.stateDir).catch(() => []);
    const logs = names.filter((name) => name.endsWith('.log')).map((name) => join(this.stateDir, name));
    const texts = await Promise.all([join(this.#dir, 'log'), ...logs].map(read));
    return texts.map((text) => text.split('\n').slice(-25).join('\n')).join('\n---\n');
  }

  /** Ends all started processes. Throws if the data plane had to be killed. */
  async stop() {
    if (process.env.SPILLWAY_TEST_LOG) console.error(await this.logTail());
    await end(this.#child, 'SIGTERM');
    for (const pid of await this.#mediaPids()) this.#seen.add(pid);
    const gone = await until(async () => (await this.#mediaPids()).length === 0, 'the data plane to end', STOP_WITHIN_MS).catch(() => false);
    for (const pid of await this.#mediaPids()) if (this.#seen.has(pid)) process.kill(pid, 'SIGKILL');
    await this.#log.close();
    await rm(this.#dir, { recursive: true, force: true });
    if (!gone) throw new Error('spillway up left its data plane behind');
  }
}

/** A non-loopback address of this host, if there is one. Packets to it stay in the host. */
export function hostAddresses() {
  const all = Object.values(networkInterfaces()).flat();
  return all.filter(({ family, internal }) => family === 'IPv4' && !internal).map(({ address }) => address).slice(0, 1);
}

async function end(child, signal) {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  const isLate = await Promise.race([exited.then(() => false), sleep(STOP_WITHIN_MS, true)]);
  if (isLate) {
    child.kill('SIGKILL');
    await exited;
  }
}

async function freeTcpPort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function freeUdpPort() {
  const socket = createSocket('udp6');
  await new Promise((resolve) => socket.bind(0, resolve));
  const { port } = socket.address();
  await new Promise((resolve) => socket.close(resolve));
  return port;
}
