/** The participants on the screen: tiles, their video and audio elements, active speakers, connection quality. */
import { chosen } from './devices.js';
import { Grid, wantedHeight } from './grid.js';
import { Tile } from './tile.js';
import { toast } from './toast.js';

const STATS_EVERY_MS = 1_000;

export class Floor {
  #room;
  #name;
  #grid;
  #self;
  #selfScreen = null;
  /** @type {Map<string, Tile>} by participant id, or by track id for shared screens */
  #tiles = new Map();
  #elements = new Map();
  #wishes = new Map();
  #statsTimer = 0;
  #unsubscribe = [];
  #visible = new WeakMap();
  #watcher;

  constructor(room, name) {
    this.#room = room;
    this.#name = name;
    this.#grid = new Grid(element('stage'), element('tiles'), () => this.#adapt());
    this.#watcher = new IntersectionObserver((entries) => this.#seen(entries), { root: element('tiles') });
    const on = (event, act) => this.#unsubscribe.push(room.on(event, act));
    on('participantjoined', ({ participant }) => this.#addPerson(participant));
    on('participantleft', ({ participant }) => this.#removeTile(participant.participant));
    on('trackpublished', ({ participant }) => this.#refresh(participant));
    on('trackunpublished', ({ participant, track }) => this.#unpublished(participant, track));
    on('trackmuted', ({ participant }) => this.#refresh(participant));
    on('tracksubscribed', (detail) => this.#play(detail));
    on('trackunsubscribed', ({ participant, track }) => this.#stop(participant, track));
    on('speakers', ({ speakers }) => this.#speak(speakers));
  }

  open() {
    this.#self = new Tile({ name: this.#name, isSelf: true });
    this.#grid.add(this.#self, { first: true });
    this.#count();
  }

  close() {
    this.showStats(false);
    this.#unsubscribe.forEach((stop) => stop());
    this.#watcher.disconnect();
    for (const id of [...this.#tiles.keys()]) this.#removeTile(id);
    for (const media of this.#elements.values()) media.remove();
    if (this.#self) this.#grid.remove(this.#self);
    if (this.#selfScreen) this.#grid.remove(this.#selfScreen);
    this.#grid.close();
  }

  /** @param {{camera?: LocalTrack, microphone?: LocalTrack, screen?: LocalTrack}} local */
  showSelf({ camera, microphone, screen }) {
    if (!this.#self) return;
    showLocal(this.#self, camera && !camera.muted ? camera.mediaStreamTrack : null);
    this.#self.setMuted(!microphone || microphone.muted);
    if (screen && !this.#selfScreen) {
      this.#selfScreen = new Tile({ name: this.#name, isSelf: true, isScreen: true });
      this.#grid.add(this.#selfScreen, { isScreen: true });
    } else if (!screen && this.#selfScreen) {
      this.#grid.remove(this.#selfScreen);
      this.#selfScreen = null;
    }
    if (this.#selfScreen) showLocal(this.#selfScreen, screen.mediaStreamTrack);
  }

  useSpeaker(deviceId) {
    for (const media of this.#elements.values()) {
      if (media instanceof HTMLAudioElement) media.setSinkId?.(deviceId).catch(() => {});
    }
  }

  showStats(shown) {
    clearInterval(this.#statsTimer);
    if (shown) {
      this.#statsTimer = setInterval(() => this.#readStats(), STATS_EVERY_MS);
      this.#readStats();
    } else {
      for (const tile of [this.#self, this.#selfScreen, ...this.#tiles.values()]) tile?.setStats(null);
    }
  }

  // ---- people

  #addPerson(participant) {
    const tile = new Tile({ name: participant.name });
    this.#tiles.set(participant.participant, tile);
    this.#grid.add(tile);
    this.#watcher.observe(tile.element);
    this.#refresh(participant);
    this.#count();
  }

  #removeTile(id) {
    const tile = this.#tiles.get(id);
    if (!tile) return;
    this.#tiles.delete(id);
    this.#watcher.unobserve(tile.element);
    this.#grid.remove(tile);
    this.#count();
  }

  #refresh(participant) {
    const tile = this.#tiles.get(participant.participant);
    const tracks = [...participant.tracks.values()];
    const microphone = tracks.find((track) => track.source === 'microphone');
    const camera = tracks.find((track) => track.kind === 'video' && isPersonal(track));
    tile?.setMuted(!microphone || microphone.muted);
    tile?.setPictureShown(Boolean(camera?.mediaStreamTrack && !camera.muted));
  }

  #count() {
    const people = this.#room.participants.size + 1;
    element('call-count').textContent = String(people);
    element('alone').hidden = people > 1;
  }

  #speak(speakers) {
    const levels = new Map(speakers.map(({ participant, level }) => [participant, level]));
    for (const [id, tile] of this.#tiles) tile.setLevel(levels.get(id) ?? 0);
    this.#self?.setLevel(levels.get(this.#room.participant) ?? 0);
  }

  // ---- media

  #play({ participant, track, mediaStreamTrack }) {
    const media = document.createElement(track.kind);
    media.autoplay = true;
    media.playsInline = true;
    media.srcObject = new MediaStream([mediaStreamTrack]);
    Object.assign(media.dataset, { participant: participant.participant, track: track.track, kind: track.kind, source: track.source });
    this.#elements.set(track.track, media);
    if (track.kind === 'audio') this.#playAudio(media);
    else this.#playVideo(media, participant, track);
    this.#refresh(participant);
  }

  #playAudio(media) {
    if (chosen.speaker) media.setSinkId?.(chosen.speaker).catch(() => {});
    element('audio').append(media);
    media.play().catch((error) => {
      if (error.name !== 'NotAllowedError') return;
      toast('The browser keeps the sound back until you click anywhere on the page.');
      document.addEventListener('click', () => media.play().catch(() => {}), { once: true });
    });
  }

  #playVideo(media, participant, track) {
    // Audio has its own element, so video without audio can always start automatically.
    media.muted = true;
    let tile = this.#tiles.get(participant.participant);
    if (!isPersonal(track)) {
      tile = new Tile({ name: participant.name, isScreen: true });
      this.#tiles.set(track.track, tile);
      this.#grid.add(tile, { isScreen: true });
    }
    tile?.setVideo(media);
    this.#adapt();
  }

  #stop(participant, track) {
    const media = this.#elements.get(track.track);
    this.#elements.delete(track.track);
    this.#wishes.delete(track.track);
    if (!media) return;
    media.srcObject = null;
    media.remove();
    if (!isPersonal(track)) this.#removeTile(track.track);
    else if (track.kind === 'video') this.#tiles.get(participant.participant)?.setVideo(null);
    this.#refresh(participant);
  }

  #unpublished(participant, track) {
    this.#removeTile(track.track);
    this.#refresh(participant);
  }

  // ---- requested video: paused while its tile is not visible, and limited to the height of the tile

  #seen(entries) {
    for (const entry of entries) this.#visible.set(entry.target, entry.isIntersecting);
    this.#adapt();
  }

  #adapt() {
    for (const participant of this.#room.participants.values()) {
      for (const track of participant.tracks.values()) {
        const tile = this.#tiles.get(participant.participant);
        if (track.kind !== 'video' || !track.mediaStreamTrack || !isPersonal(track) || !tile) continue;
        const paused = this.#visible.get(tile.element) === false;
        const maxHeight = wantedHeight(tile.element.clientHeight, devicePixelRatio);
        const key = `${paused}/${maxHeight}`;
        if (this.#wishes.get(track.track) === key || (!this.#wishes.has(track.track) && key === 'false/0')) continue;
        this.#wishes.set(track.track, key);
        this.#room.subscribe(track.track, { paused, maxHeight }).catch(() => {});
      }
    }
  }

  // ---- numbers

  async #readStats() {
    const local = this.#room.localTracks;
    await this.#fill(this.#self, local.find((track) => track.source === 'camera')?.id, local.find((track) => track.source === 'microphone')?.id);
    if (this.#selfScreen) await this.#fill(this.#selfScreen, local.find((track) => track.source === 'screen')?.id);
    for (const participant of this.#room.participants.values()) {
      const tracks = [...participant.tracks.values()];
      for (const screen of tracks.filter((track) => track.source === 'screen')) await this.#fill(this.#tiles.get(screen.track), screen.track);
      const camera = tracks.find((track) => isPersonal(track) && track.kind === 'video');
      const microphone = tracks.find((track) => track.source === 'microphone');
      await this.#fill(this.#tiles.get(participant.participant), camera?.track, microphone?.track);
    }
  }

  async #fill(tile, videoId, audioId) {
    const video = videoId && (await this.#room.getStats(videoId));
    const audio = audioId && (await this.#room.getStats(audioId));
    if (element('toggle-stats').getAttribute('aria-pressed') !== 'true') return;
    const path = video || audio;
    if (!path) return tile?.setStats([['media', 'none']]);
    const rows = [];
    if (video) {
      rows.push(['layer', video.layer || 'single']);
      rows.push(['size', video.height ? `${video.width}×${video.height} ${Math.round(video.fps ?? 0)} fps` : '–']);
      rows.push(['video', kilobits(video)]);
    }
    if (audio) rows.push(['audio', kilobits(audio)]);
    rows.push(['rtt', path.rttMs === null ? '–' : `${path.rttMs.toFixed(path.rttMs < 10 ? 1 : 0)} ms`]);
    rows.push(['loss', path.lossFraction === null ? '–' : `${(path.lossFraction * 100).toFixed(1)} %`]);
    tile?.setStats(rows);
  }
}

function kilobits(stats) {
  return stats.kbps === null ? '–' : `${Math.round(stats.kbps)} kbit/s`;
}

function isPersonal(track) {
  return track.source !== 'screen' && track.source !== 'screen_audio';
}

function showLocal(tile, mediaStreamTrack) {
  const shown = tile.video?.srcObject?.getVideoTracks()[0] ?? null;
  if (shown === mediaStreamTrack) return;
  if (!mediaStreamTrack) return tile.setVideo(null);
  const video = Object.assign(document.createElement('video'), { autoplay: true, muted: true, playsInline: true });
  video.srcObject = new MediaStream([mediaStreamTrack]);
  tile.setVideo(video);
}

function element(id) {
  return document.getElementById(id);
}
