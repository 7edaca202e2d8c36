// The sound of a job, and the only clock of the picture: AudioContext.currentTime.
//
// Suspending the context freezes its time, so pausing, waiting for frames and a browser that wants a click first are
// one mechanism. Without sound that can be decoded the clock runs all the same, silently.

const MAX_LATENCY_S = 0.5;

export class AudioClock {
  #context = null;
  #buffer = null;
  #source = null;
  #startedAt = 0; // context time at which the position was #offset
  #offset = 0;

  // Call it from a click or key press: browsers let a page make sound only after one.
  unlock() {
    this.#open();
    this.go();
  }

  // True when starting now would be heard.
  get mayStart() {
    return this.#context?.state === "running" || navigator.userActivation?.hasBeenActive !== false;
  }

  // Decodes a sound file; null removes the sound. Throws what the browser throws for a file it cannot decode.
  async load(bytes) {
    this.stop();
    this.#buffer = null;
    if (bytes === null) return;
    this.#open();
    this.#buffer = await this.#context.decodeAudioData(bytes);
  }

  // Puts the sound at `seconds`; it is heard while the context runs: go() and hold().
  start(seconds) {
    this.stop();
    this.#offset = seconds;
    this.#open();
    this.#startedAt = this.#context.currentTime;
    if (this.#buffer !== null && seconds < this.#buffer.duration) {
      this.#source = new AudioBufferSourceNode(this.#context, { buffer: this.#buffer });
      this.#source.connect(this.#context.destination);
      this.#source.start(this.#startedAt, seconds);
    }
  }

  // Neither is waited for: before the first click a context never resumes.
  hold() {
    this.#context?.suspend();
  }

  go() {
    this.#context?.resume();
  }

  stop() {
    this.#offset = this.position;
    this.#startedAt = this.#context?.currentTime ?? 0;
    this.#source?.stop();
    this.#source?.disconnect();
    this.#source = null;
  }

  // Seconds of the speech that were handed to the sound device.
  get position() {
    return this.#offset + (this.#context ? this.#context.currentTime - this.#startedAt : 0);
  }

  // Seconds between handing over and hearing (large for wireless headphones).
  get latency() {
    const { baseLatency = 0, outputLatency = 0 } = this.#context ?? {};
    return Math.min(baseLatency + outputLatency, MAX_LATENCY_S);
  }

  #open() {
    this.#context ??= new AudioContext({ latencyHint: "interactive" });
  }
}
