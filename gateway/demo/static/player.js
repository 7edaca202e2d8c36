// Shows frames at the moment their sound is heard. Knows canvas, clock and frames; nothing of HTTP or the page.
//
// Phases: empty, waiting (for frames), playing, paused, ended. A picture belongs to the 40 ms of speech around its
// middle; what is drawn is chosen by the position that is heard now. When the next frame is not there yet, the sound
// stops with the picture, and both go on when enough is buffered again.

import { AudioClock } from "./clock.js";
import { FrameStore } from "./frames.js";

export const FPS = 25;
const START_BUFFER_S = 0.5;
const MAX_BUFFER_S = 4;

export class Player {
  phase = "empty";
  total = null; // frames of the whole speech, once known
  autoplay = true; // false: wait for play()
  clock = new AudioClock();
  frames = new FrameStore();
  #canvas;
  #onChange;
  #isComplete = false;
  #isSoundPending = false;
  #shown = -1;
  #ticking = 0;
  #stats = newStats();

  constructor(canvas, onChange) {
    this.#canvas = canvas;
    this.#onChange = onChange;
  }

  // Begin with another job: nothing of it is there yet.
  async reset() {
    this.clock.stop();
    await this.clock.load(null);
    this.frames.clear();
    this.total = null;
    this.autoplay = this.#isSoundPending = true;
    this.#isComplete = false;
    this.#shown = -1;
    this.#stats = newStats();
    this.clock.hold();
    this.clock.start(0);
    this.#enter("empty");
  }

  // The sound to play, or null for none; frames are gathered meanwhile. Throws when it cannot be decoded.
  async setSound(bytes) {
    try {
      await this.clock.load(bytes);
    } finally {
      this.#isSoundPending = false;
      if (this.phase === "waiting") this.clock.start(this.clock.position);
    }
  }

  push(index, jpeg) {
    const now = performance.now();
    this.#stats.firstAt ??= now;
    this.#stats.lastAt = now;
    this.#stats.received += 1;
    this.frames.add(index, jpeg);
    if (this.phase === "empty") this.#wait(index / FPS); // later than 0 when the beginning is gone already
  }

  // Frames from..to are gone; the picture before them is held.
  gap(from, to) {
    this.#stats.gone += to - from + 1;
    this.frames.skipTo(to);
  }

  // No frame will come any more.
  complete() {
    this.#isComplete = true;
    this.total ??= this.frames.end;
  }

  play() {
    this.autoplay = true;
    if (this.phase === "ended") this.seek(0);
    else if (this.phase === "paused") this.#wait(this.clock.position);
  }

  pause() {
    if (this.phase !== "playing" && this.phase !== "waiting") return;
    this.clock.hold();
    this.#enter("paused");
  }

  seek(seconds) {
    this.autoplay = true;
    const first = this.frames.first / FPS;
    this.#wait(Math.max(first, Math.min(seconds, this.received)));
  }

  // Somebody has to press play first: the browser wants it, or the job is an old one.
  get needsClick() {
    return !this.autoplay || !this.clock.mayStart;
  }

  get position() {
    return Math.max(0, Math.min(this.clock.position, this.duration));
  }

  get duration() {
    return (this.total ?? this.frames.end) / FPS;
  }

  get received() {
    return this.frames.end / FPS;
  }

  get buffered() {
    return Math.max(0, this.received - this.clock.position);
  }

  // What was measured so far: counters, seconds, and by how many milliseconds the picture is behind the sound.
  get stats() {
    const { received, shown, skipped, late, stalls, stalledMs, gone, firstAt, lastAt, offsets, worst, sum } = this.#stats;
    const perSecond = received > 1 && lastAt > firstAt ? ((received - 1) * 1000) / (lastAt - firstAt) : null;
    return {
      phase: this.phase, received, shown, skipped, late, stalls, gone,
      broken: this.frames.broken, stalledSeconds: stalledMs / 1000, receivedPerSecond: perSecond,
      bufferedSeconds: this.buffered, position: this.position, total: this.total, frame: this.#shown,
      offsetSamples: offsets, offsetMeanMs: offsets ? sum / offsets : null, offsetWorstMs: offsets ? worst : null,
    };
  }

  // The sound stands still until enough frames are there.
  #wait(seconds) {
    this.#shown = -1;
    this.clock.hold();
    this.clock.start(seconds);
    this.#enter("waiting");
    this.#tick();
  }

  #stall() {
    this.#stats.stalls += 1;
    this.#stats.stalledAt = performance.now();
    this.clock.hold();
    this.#enter("waiting");
  }

  #enter(phase) {
    if (this.phase === "waiting" && this.#stats.stalledAt !== null) {
      this.#stats.stalledMs += performance.now() - this.#stats.stalledAt;
      this.#stats.stalledAt = null;
    }
    this.phase = phase;
    this.#onChange(phase);
  }

  #tick = () => {
    cancelAnimationFrame(this.#ticking);
    if (this.phase !== "playing" && this.phase !== "waiting") return;
    const heard = Math.max(0, this.clock.position - this.clock.latency);
    const wanted = Math.floor(heard * FPS);
    if (this.phase === "waiting") this.#tryToGoOn();
    else if (this.#isComplete && this.clock.position >= this.duration + this.clock.latency) this.#end();
    else if (!this.#isComplete && wanted >= this.frames.end) this.#stall();
    this.#draw(Math.min(wanted, this.frames.end - 1), heard);
    this.#ticking = requestAnimationFrame(this.#tick);
  };

  #tryToGoOn() {
    const needed = Math.min(START_BUFFER_S * 2 ** this.#stats.stalls, MAX_BUFFER_S);
    if (this.#isSoundPending || (!this.#isComplete && this.buffered < needed)) return;
    if (this.needsClick) {
      this.pause();
      return;
    }
    this.#enter("playing");
    this.clock.go();
  }

  #end() {
    this.clock.hold();
    this.#enter("ended");
  }

  #draw(wanted, heard) {
    this.frames.decodeFrom(Math.max(wanted, 0));
    const newest = this.frames.newest(wanted);
    if (newest !== null && newest[0] !== this.#shown) this.#paint(newest[0], newest[1]);
    if (this.phase === "playing" && this.#shown >= 0 && !document.hidden) this.#measure(wanted, heard);
  }

  #paint(index, bitmap) {
    const { width, height } = bitmap;
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    this.#canvas.getContext("2d").drawImage(bitmap, 0, 0);
    const isNext = this.#shown >= 0 && index > this.#shown;
    if (isNext && !document.hidden) this.#stats.skipped += index - this.#shown - 1;
    this.#stats.shown += 1;
    this.#shown = index;
  }

  #measure(wanted, heard) {
    const stats = this.#stats;
    if (this.#shown < wanted) stats.late += 1;
    const offset = (heard - (this.#shown + 0.5) / FPS) * 1000;
    stats.offsets += 1;
    stats.sum += offset;
    if (Math.abs(offset) > Math.abs(stats.worst)) stats.worst = offset;
  }
}

function newStats() {
  return {
    received: 0, shown: 0, skipped: 0, late: 0, gone: 0, stalls: 0, stalledMs: 0, stalledAt: null,
    firstAt: null, lastAt: null, offsets: 0, sum: 0, worst: 0,
  };
}
