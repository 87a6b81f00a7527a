/** Starts headless Chromium and Firefox with simulated cameras, each with its own profile. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import puppeteer from 'puppeteer-core';
import { networkHoldsStill } from './still.js';

const run = promisify(execFile);

export const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FIREFOX = process.env.FIREFOX ?? '/usr/bin/firefox-esr';

/** Time limit for the start of a browser on a busy host. */
const LAUNCH_WITHIN_MS = 120_000;

const CHROMIUM_ARGS = [
  '--no-sandbox',
  '--allow-loopback-in-peer-connection',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
  '--disable-background-timer-throttling',
];
const FAKE_CAMERA = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'];

const FIREFOX_PREFS = {
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.getusermedia.insecure.enabled': true,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  // A new profile would download plugins and lists.
  'media.gmp-manager.updateEnabled': false,
  'media.gmp-provider.enabled': false,
  'app.normandy.enabled': false,
  'app.update.enabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'browser.safebrowsing.blockedURIs.enabled': false,
  'browser.safebrowsing.downloads.enabled': false,
  'datareporting.healthreport.uploadEnabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'extensions.update.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'data:,',
  'toolkit.telemetry.enabled': false,
};

/**
 * @param {{camera?: 'fake' | 'none', args?: string[], executable?: string, inside?: string[]}} [options]
 *   camera none: no device. executable: program that starts Chromium, perhaps inside a namespace.
 *   inside: command prefix that runs a program in that namespace.
 */
export async function launchChromium({ camera = 'fake', args = [], executable = CHROMIUM, inside = [] } = {}) {
  await networkHoldsStill(inside);
  return puppeteer.launch({
    executablePath: executable,
    headless: true,
    timeout: LAUNCH_WITHIN_MS,
    pipe: executable !== CHROMIUM, // a debugging port is not reachable from another namespace
    args: [...CHROMIUM_ARGS, ...(camera === 'fake' ? FAKE_CAMERA : []), ...args],
  });
}

/** @param {{trusts?: string, prefs?: object}} [options] file of a trusted CA certificate; additional preferences */
export async function launchFirefox({ trusts = '', prefs = {} } = {}) {
  await networkHoldsStill();
  const extraPrefsFirefox = { ...FIREFOX_PREFS, ...prefs };
  const launch = (more = {}) => puppeteer.launch({ browser: 'firefox', executablePath: FIREFOX, headless: true, timeout: LAUNCH_WITHIN_MS, extraPrefsFirefox, ...more });
  if (!trusts) return launch();
  // Each Firefox profile has its own certificate store, and no flag disables verification.
  const profile = await mkdtemp(join(tmpdir(), 'spillway-firefox-'));
  const certutil = (...args) => run('certutil', ['-d', `sql:${profile}`, ...args]);
  await certutil('-N', '--empty-password');
  await certutil('-A', '-n', 'test authority', '-t', 'C,,', '-i', trusts);
  const browser = await launch({ userDataDir: profile });
  browser.once('disconnected', () => rm(profile, { recursive: true, force: true, maxRetries: 5 }));
  return browser;
}
