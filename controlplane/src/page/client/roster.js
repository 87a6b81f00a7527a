/**
 * Participants of the room and their tracks. Input: snapshots and room events. Output: an event for
 * each difference. No sockets, no media.
 */

/**
 * @typedef {object} RemoteTrack
 * @property {string} track id, `TR_...`
 * @property {string} participant id of the publisher, `PA_...`
 * @property {'audio'|'video'} kind
 * @property {'camera'|'microphone'|'screen'|'screen_audio'|'other'} source
 * @property {boolean} muted
 * @property {{rid: string, height: number}[]} layers simulcast layers, lowest first; heights in pixels
 * @property {MediaStreamTrack | null} mediaStreamTrack null while not subscribed
 * @property {string} rid layer received now, '' without simulcast
 * @property {boolean} active false while the server sends nothing (paused, or no bandwidth)
 */

/**
 * @typedef {object} RemoteParticipant
 * @property {string} participant id, `PA_...`
 * @property {string} identity
 * @property {string} name
 * @property {Map<string, RemoteTrack>} tracks by track id
 */

export class Roster {
  /** @type {Map<string, RemoteParticipant>} by participant id */
  participants = new Map();
  #emit;
  #self = '';

  /** @param {(name: string, detail: object) => void} emit */
  constructor(emit) {
    this.#emit = emit;
  }

  /** @param {string} participant id of this participant, whose own join is not reported */
  setSelf(participant) {
    this.#self = participant;
  }

  /** @returns {RemoteTrack | undefined} */
  track(id) {
    for (const participant of this.participants.values()) {
      const track = participant.tracks.get(id);
      if (track) return track;
    }
    return undefined;
  }

  /** @returns {RemoteTrack[]} */
  allTracks() {
    return [...this.participants.values()].flatMap((participant) => [...participant.tracks.values()]);
  }

  /** Applies a snapshot: participants and tracks that it does not contain are removed. */
  reset(list) {
    const others = list.filter((entry) => entry.participant !== this.#self);
    const present = new Set(others.map((entry) => entry.participant));
    for (const id of [...this.participants.keys()]) if (!present.has(id)) this.#leave(id, 'left');
    for (const entry of others) this.#join(entry);
  }

  /**
   * @param {object} event a room event
   * @returns {boolean} false if the event does not concern participants or tracks
   */
  apply(event) {
    switch (event.kind) {
      case 'participant_joined':
        if (event.participant.participant !== this.#self) this.#join(event.participant);
        return true;
      case 'participant_left':
        this.#leave(event.participant, event.reason);
        return true;
      case 'track_published':
        this.#with(event.participant, (participant) => this.#publish(participant, event.track));
        return true;
      case 'track_unpublished':
        this.#with(event.participant, (participant) => this.#unpublish(participant, event.track));
        return true;
      case 'track_muted':
        this.#with(event.participant, (participant) => this.#mute(participant, event.track, event.muted));
        return true;
      default:
        return false;
    }
  }

  #with(id, act) {
    const participant = this.participants.get(id);
    if (participant) act(participant);
  }

  #join(entry) {
    let participant = this.participants.get(entry.participant);
    if (!participant) {
      const { participant: id, identity, name } = entry;
      participant = { participant: id, identity, name: name || identity, tracks: new Map() };
      this.participants.set(id, participant);
      this.#emit('participantjoined', { participant });
    }
    const named = new Set((entry.tracks ?? []).map((track) => track.track));
    for (const id of [...participant.tracks.keys()]) if (!named.has(id)) this.#unpublish(participant, id);
    for (const track of entry.tracks ?? []) this.#publish(participant, track);
  }

  #leave(id, reason) {
    this.#with(id, (participant) => {
      for (const track of [...participant.tracks.keys()]) this.#unpublish(participant, track);
      this.participants.delete(id);
      this.#emit('participantleft', { participant, reason });
    });
  }

  #publish(participant, { track: id, kind, source, muted, layers }) {
    const known = participant.tracks.get(id);
    if (known) {
      known.layers = layers ?? [];
      return this.#mute(participant, id, Boolean(muted));
    }
    const track = {
      track: id, participant: participant.participant, kind, source, muted: Boolean(muted), layers: layers ?? [],
      mediaStreamTrack: null, rid: '', active: true,
    };
    participant.tracks.set(id, track);
    this.#emit('trackpublished', { participant, track });
  }

  #unpublish(participant, id) {
    const track = participant.tracks.get(id);
    if (!track) return;
    participant.tracks.delete(id);
    this.loseMedia(participant, track);
    this.#emit('trackunpublished', { participant, track });
  }

  #mute(participant, id, muted) {
    const track = participant.tracks.get(id);
    if (!track || track.muted === muted) return;
    track.muted = muted;
    this.#emit('trackmuted', { participant, track, muted });
  }

  /** Sets the current media by track id. Emits events for media that started or ended. */
  setMedia(mediaByTrack) {
    for (const participant of this.participants.values()) {
      for (const track of participant.tracks.values()) {
        const media = mediaByTrack.get(track.track) ?? null;
        if (media === track.mediaStreamTrack) continue;
        this.loseMedia(participant, track);
        if (!media) continue;
        track.mediaStreamTrack = media;
        this.#emit('tracksubscribed', { participant, track, mediaStreamTrack: media });
      }
    }
  }

  loseMedia(participant, track) {
    const { mediaStreamTrack } = track;
    if (!mediaStreamTrack) return;
    track.mediaStreamTrack = null;
    this.#emit('trackunsubscribed', { participant, track, mediaStreamTrack });
  }
}
