// Frames of one job: compressed ones kept for replay up to a limit, decoded ones only around the play position.

const MAX_BYTES = 256e6;
const DECODE_AHEAD = 12;

export class FrameStore {
  #jpegs = new Map(); // index -> Blob
  #bitmaps = new Map(); // index -> ImageBitmap, or null while it is decoded
  #bytes = 0;
  #limit;
  #wanted = 0;
  end = 0; // one after the last frame received or announced as gone
  broken = 0; // frames that could not be decoded

  constructor(limit = MAX_BYTES) {
    this.#limit = limit;
  }

  add(index, jpeg) {
    if (this.#jpegs.has(index)) return;
    this.#jpegs.set(index, jpeg);
    this.#bytes += jpeg.size;
    this.end = Math.max(this.end, index + 1);
    this.#forgetPlayed();
  }

  // Frames up to `last` will not come.
  skipTo(last) {
    this.end = Math.max(this.end, last + 1);
  }

  get size() {
    return this.#jpegs.size;
  }

  get first() {
    return this.#jpegs.size > 0 ? this.#jpegs.keys().next().value : 0;
  }

  // More is held than allowed, and nothing of it was played yet: let the stream rest.
  get isFull() {
    return this.#bytes > this.#limit;
  }

  get hasRoom() {
    return this.#bytes < 0.8 * this.#limit;
  }

  // The newest decoded frame up to `index`, as [index, bitmap], or null. Frames behind it are let go.
  newest(index) {
    let found = null;
    for (const [at, bitmap] of this.#bitmaps) {
      if (bitmap !== null && at <= index && (found === null || at > found[0])) found = [at, bitmap];
    }
    if (found !== null) this.#close((at) => at < found[0]);
    return found;
  }

  // Decode from `index` on; called for every picture that is drawn.
  decodeFrom(index) {
    this.#wanted = index;
    this.#close((at) => at > index + 2 * DECODE_AHEAD);
    const last = Math.min(index + DECODE_AHEAD, this.end);
    for (let at = Math.max(0, index); at < last; at++) {
      const jpeg = this.#jpegs.get(at);
      if (jpeg !== undefined && !this.#bitmaps.has(at)) this.#decode(at, jpeg);
    }
  }

  clear() {
    this.#close(() => true);
    this.#jpegs.clear();
    this.#bytes = this.#wanted = this.end = this.broken = 0;
  }

  async #decode(index, jpeg) {
    this.#bitmaps.set(index, null);
    try {
      const bitmap = await createImageBitmap(jpeg);
      if (this.#jpegs.get(index) === jpeg && this.#bitmaps.has(index)) this.#bitmaps.set(index, bitmap);
      else bitmap.close();
    } catch {
      this.broken += 1; // stays null: the picture before it is held
    }
  }

  #close(isOver) {
    for (const [at, bitmap] of this.#bitmaps) {
      if (!isOver(at)) continue;
      bitmap?.close();
      this.#bitmaps.delete(at);
    }
  }

  #forgetPlayed() {
    for (const [index, jpeg] of this.#jpegs) {
      if (this.#bytes <= this.#limit || index >= this.#wanted) return;
      this.#jpegs.delete(index);
      this.#bytes -= jpeg.size;
    }
  }
}
