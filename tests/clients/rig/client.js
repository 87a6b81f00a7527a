/**
 * The process of one client on one side of the lab, with its participants. python/participant.py describes
 * commands and events.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { ranMs } from '../../browser/rig/clock.js';

const END_WITHIN_MS = 10_000;
const POLL_MS = 10;
const PUBLISH_WITHIN_MS = 30_000;

export class Client {
  /** @type {Map<string, {as: string, event: string, at: number}[]>} by identity, oldest first; the client's own: '' */
  #events = new Map();
  #child;
  #errors = '';
  #exited;

  /**
   * @param {string} kind such as "pion"
   * @param {string[]} command
   */
  constructor(kind, [program, ...args]) {
    this.kind = kind;
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#exited = new Promise((resolve) => this.#child.once('close', resolve).once('error', resolve));
    this.#child.stdin.on('error', () => {});
    this.#child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#errors = (this.#errors + text).slice(-4_000);
      if (process.env.SPILLWAY_TEST_LOG) process.stderr.write(text);
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#hear(line));
  }

  get isRunning() {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get stderr() {
    return this.#errors;
  }

  #hear(line) {
    try {
      const event = JSON.parse(line);
      this.of(event.as).push(event);
    } catch {
      this.#errors = `${this.#errors}${line}\n`.slice(-4_000);
    }
    if (process.env.SPILLWAY_TEST_LOG && !/"(frame|sound|playout)"/.test(line)) console.error(`${this.kind}: ${line}`);
  }

  /** Events of a participant. */
  of(identity) {
    if (!this.#events.has(identity)) this.#events.set(identity, []);
    return this.#events.get(identity);
  }

  send(command) {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
  }

  /** Starts a join. The returned Participant has the received media. */
  join(identity, fields) {
    this.send({ do: 'join', as: identity, ...fields });
    return new Participant(this, identity);
  }

  /** Waits for an event of a participant; null if it does not come in time or the process ends. */
  async event(identity, test, withinMs) {
    const sinceMs = Date.now();
    while (ranMs(sinceMs) < withinMs) {
      const found = this.of(identity).find(test);
      if (found) return found;
      if (!this.isRunning) return null;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return null;
  }

  async stop() {
    this.#child.stdin.end();
    const late = await Promise.race([this.#exited.then(() => false), new Promise((resolve) => setTimeout(resolve, END_WITHIN_MS, true))]);
    if (late) this.#child.kill('SIGKILL');
  }
}

export class Participant {
  constructor(client, identity) {
    this.client = client;
    this.identity = identity;
  }

  all(event, track) {
    return this.client.of(this.identity).filter((each) => each.event === event && (track === undefined || each.track === track));
  }

  /** The first event with this name, and with these fields if given. */
  first(event, withinMs, isIt = () => true) {
    return this.client.event(this.identity, (each) => each.event === event && isIt(each), withinMs);
  }

  /** Publishes. @returns {Promise<Map<string, string> | null>} track ids by kind; null if it fails */
  async tracks(withinMs = PUBLISH_WITHIN_MS) {
    const published = await this.first('published', withinMs);
    return published && new Map(published.tracks.map(({ kind, track }) => [kind, track]));
  }

  /** Times of the frames of a track. */
  frames(track) {
    return this.all('frame', track).map(({ at }) => at);
  }

  /** True if the process has ended or a connection of the participant failed: no further events are expected. */
  get hasFailed() {
    return !this.client.isRunning || this.all('error').some(({ text }) => text.includes('connection failed'));
  }

  /** The reason why no media arrives, as the client reports it; one line. */
  get trouble() {
    const texts = this.all('error').map(({ text }) => text.trim().split('\n').at(-1));
    if (!this.client.isRunning) texts.push(`its process ended: ${this.client.stderr.trim().split('\n').at(-1)}`);
    const reached = ['ice', 'dtls'].flatMap((event) => this.all(event).map(({ pc }) => `${event} of ${pc}`));
    const codecs = this.all('codec').map(({ codec }) => codec);
    if (codecs.length > 0) texts.push(`first codecs of its answers: ${codecs.join(', ')}`);
    const told = this.all('layer').map(({ reason }) => reason).filter(Boolean);
    if (told.length > 0) texts.push(`told: ${told.join(', ')}`);
    return [...new Set(texts), `reached: ${[...new Set(reached)].join(', ') || 'neither ICE nor DTLS'}`].join('; ');
  }

  async leave() {
    this.client.send({ do: 'leave', as: this.identity });
    await this.first('left', END_WITHIN_MS);
  }
}
