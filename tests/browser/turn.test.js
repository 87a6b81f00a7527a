/** Clients whose firewalls permit only TURN or TCP. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { CHROMIUM, launchChromium, launchFirefox } from './rig/browsers.js';
import { joinPage, paths, seesAndHears } from './rig/people.js';
import { Spillway, hostAddresses } from './rig/server.js';
import { until } from './rig/wait.js';

const run = promisify(execFile);
const SECRET = 'a-secret-that-both-know';
/** Time limit until the relay has carried enough media. */
const RELAYED_WITHIN_MS = 20_000;
const outcomes = {};

let dir, authority, certificate, spillway, ports, peerPort, echo, chromium, firefox, anna;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'spillway-turn-'));
  authority = await makeAuthority();
  certificate = await makeCertificate(['DNS:localhost', ...['127.0.0.1', ...hostAddresses()].map((address) => `IP:${address}`)]);
  ports = { turn: await freePair(), tls: await freePair() };
  peerPort = await freePair();
  echo = spawn('turnutils_peer', ['-p', String(peerPort), '-L', '127.0.0.1'], { stdio: 'ignore' });
  spillway = await Spillway.start({
    advertise: ['127.0.0.1', ...hostAddresses()],
    args: [
      '--turn-secret', SECRET, '--turn-port', String(ports.turn), '--turn-tls-port', String(ports.tls), ...certificate,
      // The peer of coturn's client: a port and the next one.
      '--turn-peers', `127.0.0.1:${peerPort},127.0.0.1:${peerPort + 1}`,
    ],
  });
  [chromium, firefox] = await Promise.all([launchChromium({ args: ['--ignore-certificate-errors'] }), launchFirefox({ trusts: authority.certificate })]);
  anna = await joinPage(chromium, { url: spillway.url, room: 'walls', name: 'Anna' });
});

after(async () => {
  await Promise.allSettled([chromium?.close(), firefox?.close()]);
  echo?.kill();
  await spillway?.stop();
  await rm(dir, { recursive: true, force: true });
  console.log(JSON.stringify({ suite: 'turn', ...outcomes }));
});

for (const [transport, flags] of Object.entries({ udp: [], tcp: ['-t'], tls: ['-t', '-S'] })) {
  test(`coturn's client loses nothing over ${transport}`, async () => {
    const port = transport === 'tls' ? ports.tls : ports.turn;
    const what = ['-e', '127.0.0.1', '-r', String(peerPort), '-n', '100', '-m', '4', '-c', '-u', 'carol', '-W', SECRET];
    const { stdout } = await run('turnutils_uclient', [...flags, '-p', String(port), ...what, '127.0.0.1'], { timeout: 60_000 });
    const [, lost] = stdout.match(/Total lost packets (\d+)/) ?? [];
    assert.equal(lost, '0', stdout);
    outcomes[`uclient_${transport}_lost`] = Number(lost);
  });
}

for (const over of ['udp', 'tcp', 'tls', 'ice-tcp']) {
  test(`Chromium sees and is seen over ${over} alone`, async () => {
    const name = `Over ${over}`;
    const page = await joinPage(chromium, { url: spillway.url, room: 'walls', name, height: 180, over });
    await Promise.all([seesAndHears(page, ['Anna']), seesAndHears(anna, [name])]);
    const ways = await paths(page);
    assert.ok(ways.length >= 2, 'publishing and subscribing');
    for (const { type, protocol, relayProtocol } of ways) {
      if (over === 'ice-tcp') assert.equal(protocol, 'tcp');
      else assert.deepEqual({ type, relayProtocol }, { type: 'relay', relayProtocol: over });
    }
    if (over !== 'ice-tcp') {
      const isBusy = ({ transport, to_client_bytes: bytes }) => transport === over && bytes > 10_000;
      await until(async () => (await spillway.cli('turn', 'ls')).some(isBusy), `10 kB of media through the relay over ${over}`, RELAYED_WITHIN_MS);
    }
    outcomes[`chromium_${over.replace('-', '_')}`] = 'sees';
    await page.close();
  });
}

for (const over of ['udp', 'tcp', 'tls']) {
  test(`Firefox sees and is seen over ${over} alone`, async () => {
    const name = `Fox over ${over}`;
    const page = await joinPage(firefox, { url: spillway.url, room: 'walls', name, height: 180, over });
    await Promise.all([seesAndHears(page, ['Anna']), seesAndHears(anna, [name])]);
    const ways = await paths(page);
    assert.ok(ways.length > 0 && ways.every(({ type }) => type === 'relay'), JSON.stringify(ways));
    outcomes[`firefox_${over}`] = 'sees';
    await page.close();
  });
}

test('credentials of the command line open the relay, and others do not', async () => {
  const { username, password } = JSON.parse((await run(join(binaries(), 'spillway'), ['turn', 'credential', '--secret', SECRET, '--user', 'dora', '--json'])).stdout);
  const ask = (secret) => run('turnutils_uclient', ['-p', String(ports.turn), '-e', '127.0.0.1', '-r', String(peerPort), '-n', '5', '-c', '-u', username, '-w', secret, '127.0.0.1'], { timeout: 20_000 });
  assert.match((await ask(password)).stdout, /Total lost packets 0/);
  await assert.rejects(ask('wrong'));
});

test('behind a firewall that passes TCP 443 alone, Chromium joins by itself and sees video', { skip: process.getuid() !== 0 && 'namespaces need root' }, async () => {
  const lab = new Walls();
  let server, inside, outside;
  try {
    await lab.build();
    const tls = await makeCertificate([`IP:${Walls.SERVER}`]);
    server = await Spillway.start({
      advertise: [Walls.SERVER], inside: lab.enter('server'), args: ['--turn-tls-port', '443', '--turn-host', Walls.SERVER, ...tls],
    });
    const starter = async (side) => {
      const path = join(dir, `chromium-${side}`);
      await writeFile(path, `#!/bin/sh\nexec ${lab.enter(side).join(' ')} ${CHROMIUM} "$@"\n`);
      await chmod(path, 0o755);
      return path;
    };
    const args = ['--ignore-certificate-errors'];
    outside = await launchChromium({ args, executable: await starter('server'), inside: lab.enter('server') });
    inside = await launchChromium({ args, executable: await starter('client'), inside: lab.enter('client') });
    const url = `https://${Walls.SERVER}`;
    const olga = await joinPage(outside, { url: `https://${Walls.SERVER}`, room: 'wall', name: 'Olga', height: 180 });
    const ivan = await joinPage(inside, { url, room: 'wall', name: 'Ivan', height: 180 });
    await Promise.all([seesAndHears(ivan, ['Olga']), seesAndHears(olga, ['Ivan'])]);
    const refused = await lab.refused();
    assert.ok(refused > 0, 'it tried other ways, and the firewall stood');
    outcomes.behind_443 = { sees: true, packets_refused: refused };
  } finally {
    await Promise.allSettled([inside?.close(), outside?.close()]);
    await server?.stop();
    await lab.raze();
  }
});

/** Two namespaces, and a firewall between them that permits only TCP to port 443 of the server. */
class Walls {
  static SERVER = '10.62.0.1';
  static CLIENT = '10.62.0.2';
  #names = { server: `spillway-turn-${process.pid}-s`, client: `spillway-turn-${process.pid}-c` };

  async build() {
    const { server, client } = this.#names;
    const ip = (...args) => run('ip', args);
    for (const name of [server, client]) await ip('netns', 'add', name);
    await ip('link', 'add', 'wall', 'netns', server, 'type', 'veth', 'peer', 'name', 'wall', 'netns', client);
    for (const [name, address] of [[server, Walls.SERVER], [client, Walls.CLIENT]]) {
      await ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', 'wall');
      for (const link of ['lo', 'wall']) await ip('-n', name, 'link', 'set', link, 'up');
    }
    const rules = `table inet wall {
      counter refused {}
      chain out { type filter hook output priority 0; policy accept;
        oifname "lo" accept
        tcp dport 443 accept
        ip daddr ${Walls.SERVER} counter name refused drop
      }
    }`;
    const file = join(dir, 'rules.nft');
    await writeFile(file, rules);
    await run('ip', ['netns', 'exec', client, 'nft', '-f', file]);
  }

  /** Command prefix that runs a program on that side. */
  enter(side) {
    return ['ip', 'netns', 'exec', this.#names[side]];
  }

  /** Number of packets that the firewall dropped. */
  async refused() {
    const { stdout } = await run('ip', ['netns', 'exec', this.#names.client, 'nft', 'list', 'counters']);
    return Number(stdout.match(/packets (\d+)/)?.[1] ?? 0);
  }

  async raze() {
    for (const name of Object.values(this.#names)) await run('ip', ['netns', 'del', name]).catch(() => {});
  }
}

function binaries() {
  return process.env.SPILLWAY_BIN_DIR ?? new URL('../../target/release', import.meta.url).pathname;
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** Creates a CA certificate. */
async function makeAuthority() {
  const authority = { certificate: join(dir, 'authority.pem'), key: join(dir, 'authority-key.pem') };
  await run('openssl', ['req', '-x509', ...NEW_KEY, '-keyout', authority.key, '-out', authority.certificate, '-days', '2', '-subj', '/CN=spillway test authority']);
  return authority;
}

/** openssl arguments for a certificate with `names`, each with its type. */
async function makeCertificate(names) {
  const file = (what) => join(dir, `${names[0]}-${what}.pem`);
  await writeFile(file('names'), `subjectAltName=${names.join(',')}\nbasicConstraints=CA:FALSE\n`);
  await run('openssl', ['req', ...NEW_KEY, '-keyout', file('key'), '-out', file('request'), '-subj', '/CN=spillway test']);
  await run('openssl', [
    'x509', '-req', '-in', file('request'), '-CA', authority.certificate, '-CAkey', authority.key, '-CAcreateserial',
    '-days', '2', '-extfile', file('names'), '-out', file('certificate'),
  ]);
  return ['--tls-certificate', file('certificate'), '--tls-key', file('key')];
}

/** A port that is free for UDP and TCP, like the next one; below the kernel's ephemeral ports. */
async function freePair() {
  const isFree = async (socket, bind) => {
    const bound = new Promise((resolve) => socket.once('listening', () => resolve(true)).once('error', () => resolve(false)));
    bind();
    const free = await bound;
    if (free) await new Promise((resolve) => socket.close(resolve));
    return free;
  };
  const isFreeForBoth = async (port) => {
    const [udp, tcp] = [createSocket('udp4'), createServer()];
    return (await isFree(udp, () => udp.bind(port))) && (await isFree(tcp, () => tcp.listen(port)));
  };
  return until(async () => {
    const port = 20_000 + 2 * Math.floor(Math.random() * 4_000);
    return (await isFreeForBoth(port)) && (await isFreeForBoth(port + 1)) && port;
  }, 'two free ports', 5_000);
}
