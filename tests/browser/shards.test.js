/** A room on two shards behaves like a room on one shard. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium } from './rig/browsers.js';
import { joinBare, seesAndHears } from './rig/people.js';
import { Spillway } from './rig/server.js';
import { until } from './rig/wait.js';

const FEWEST = 4;
const MOST = 10;
/** Small pictures, because the browsers need most of the CPU time. */
const PUBLISH = [['camera', { height: 120 }], ['microphone', {}]];

let spillway, browser;
const people = [];

before(async () => {
  spillway = await Spillway.start({ shards: 2 });
  browser = await launchChromium();
});

after(async () => {
  await browser?.close();
  await spillway?.stop();
});

async function shards() {
  const nodes = await spillway.cli('node', 'ls');
  return (nodes.nodes ?? nodes)[0].shards;
}

test('people join until the kernel has put sessions on both shards', async () => {
  const onBoth = async () => (await shards()).every((shard) => shard.sessions > 0);
  while (people.length < MOST && (people.length < FEWEST || !(await onBoth()))) {
    const name = `P${people.length + 1}`;
    people.push({ name, page: await joinBare(browser, { url: spillway.url, room: 'wide', name, publish: PUBLISH }) });
    await until(async () => (await shards()).reduce((sum, shard) => sum + shard.sessions, 0) >= people.length, `${name}'s session to be claimed`, 10_000);
  }
  const counts = (await shards()).map((shard) => shard.sessions);
  assert.ok(counts.length === 2 && counts.every((count) => count > 0), `sessions per shard: ${counts}`);
});

test('all see and hear all, across shards', async () => {
  const others = (self) => people.map(({ name }) => name).filter((name) => name !== self);
  await Promise.all(people.map(({ name, page }) => seesAndHears(page, others(name), 60_000)));
});

test('packets flow on both shards', async () => {
  const first = await shards();
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const later = await shards();
  for (const [index, shard] of later.entries()) {
    const arrived = shard.packets_in - first[index].packets_in;
    const left = shard.packets_out - first[index].packets_out;
    assert.ok(arrived + left > 100, `shard ${shard.shard}: ${arrived} packets arrived and ${left} left in 2 s`);
  }
});
