// What the player's part of the page looks like, and its words. Knows neither jobs' life nor frames.

const TEMPLATE = `
  <div class="th-notices" aria-live="polite"></div>
  <div class="th-stage" data-phase="empty">
    <img class="th-poster" alt="" hidden>
    <canvas width="512" height="512" role="img" aria-label="The talking head, while it is being made"></canvas>
    <video controls playsinline preload="metadata" hidden></video>
    <div class="th-overlay"><span class="th-spinner" aria-hidden="true"></span><span class="th-words"></span></div>
    <button class="th-big-play" type="button" aria-label="Play with sound" hidden>▶</button>
  </div>
  <div class="th-bar">
    <button class="th-play" type="button" disabled aria-label="Play">▶</button>
    <input class="th-seek" type="range" min="0" max="0" step="0.04" value="0" disabled aria-label="Position">
    <output class="th-time">0:00 / 0:00</output>
  </div>
  <div class="th-job">
    <div class="th-state" role="status"></div>
    <button class="th-cancel" type="button" hidden>Cancel</button>
    <div class="th-results" hidden>
      <button class="th-toggle" type="button">Finished video</button>
      <a class="th-download" download>Download mp4</a>
    </div>
    <progress class="th-progress" max="1" value="0" aria-label="Progress"></progress>
    <small class="th-seed" hidden></small>
  </div>
  <dl class="th-stats" hidden></dl>`;

const STATES = {
  queued: "Waiting in the queue",
  ingesting: "Reading the files",
  ready: "Waiting for its turn",
  running: "Making the video",
  finalizing: "Adding the sound",
  succeeded: "Finished",
};

export class View {
  constructor(host) {
    host.innerHTML = TEMPLATE;
    const part = (name) => host.querySelector(`.th-${name}`);
    this.stage = part("stage");
    this.canvas = host.querySelector("canvas");
    this.video = host.querySelector("video");
    for (const name of ["notices", "poster", "words", "play", "seek", "time", "state", "cancel", "results", "toggle",
      "download", "progress", "seed", "stats"]) this[name] = part(name);
    this.bigPlay = part("big-play");
    this.isDragging = false;
    this.seek.addEventListener("input", () => { this.isDragging = true; });
    this.seek.addEventListener("change", () => { this.isDragging = false; });
  }

  // Forget the job before.
  clear() {
    this.notices.replaceChildren();
    this.state.textContent = "";
    this.progress.value = 0;
    this.results.hidden = this.stats.hidden = this.cancel.hidden = this.seed.hidden = true;
    this.video.removeAttribute("src");
    this.video.load();
    this.showVideo(false);
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  // A message: kind is error, warning or info; a key replaces the message before of that key.
  notice(kind, title, text, key = "", detail = "") {
    this.removeNotice(key);
    const box = document.createElement("div");
    box.className = `th-notice th-${kind}`;
    box.dataset.key = key;
    if (kind === "error") box.setAttribute("role", "alert");
    for (const [tag, words] of [["strong", title], ["span", text], ["small", detail]]) {
      if (!words) continue;
      box.append(Object.assign(document.createElement(tag), { textContent: words }));
    }
    this.notices.append(box);
  }

  removeNotice(key) {
    if (key) this.#find(key)?.remove();
  }

  hasNotice(key) {
    return this.#find(key) !== null;
  }

  // What the stage shows: the phase of the player and some words over the picture.
  setStage(phase, words, needsClick) {
    this.stage.dataset.phase = phase;
    if (this.words.textContent !== words) this.words.textContent = words;
    this.bigPlay.hidden = !needsClick || !this.video.hidden;
    const isRunning = phase === "playing" || phase === "waiting";
    this.play.textContent = isRunning ? "❚❚" : "▶";
    this.play.setAttribute("aria-label", isRunning ? "Pause" : "Play");
    this.play.disabled = this.seek.disabled = phase === "empty" || !this.video.hidden;
  }

  setPoster(url) {
    this.poster.hidden = !url;
    if (url) this.poster.src = url;
    else this.poster.removeAttribute("src");
  }

  setTime(position, received, duration) {
    this.seek.max = String(duration);
    if (!this.isDragging) this.seek.value = String(position);
    const share = (seconds) => `${duration > 0 ? (100 * seconds) / duration : 0}%`;
    this.seek.style.setProperty("--played", share(position));
    this.seek.style.setProperty("--received", share(received));
    this.time.textContent = `${clockTime(position)} / ${clockTime(duration)}`;
  }

  setJob(job, progress) {
    this.state.textContent = stateWords(job, progress);
    this.progress.value = job.state === "succeeded" ? 1 : progress.ratio;
    this.cancel.hidden = isOver(job.state);
    this.seed.hidden = job.state !== "succeeded";
    this.seed.textContent = `Seed ${job.options.seed}: the same seed and files give the same video.`;
  }

  offerVideo(url, name) {
    this.results.hidden = false;
    this.video.src = url;
    this.download.href = url;
    this.download.download = name;
  }

  showVideo(isShown) {
    this.video.hidden = !isShown;
    this.canvas.hidden = isShown;
    this.toggle.textContent = isShown ? "Live player" : "Finished video";
    if (!isShown) this.video.pause();
  }

  // [label, value, explanation] of everything measured.
  setStats(rows) {
    this.stats.hidden = rows.length === 0;
    this.stats.replaceChildren(...rows.map(([label, value, title]) => {
      const item = Object.assign(document.createElement("div"), { title });
      item.append(
        Object.assign(document.createElement("dt"), { textContent: label }),
        Object.assign(document.createElement("dd"), { textContent: value }),
      );
      return item;
    }));
  }

  #find(key) {
    return this.notices.querySelector(`[data-key="${key}"]`);
  }
}

export function isOver(state) {
  return ["succeeded", "failed", "canceled", "expired"].includes(state);
}

function stateWords(job, { frames_rendered: drawn, frames_total: total }) {
  const words = STATES[job.state] ?? job.state;
  if (job.queue_position) return `${words}: ${job.queue_position} before this one`;
  if (job.state === "running" && total) return `Frame ${drawn} of ${total}`;
  if (job.state !== "succeeded" || !total) return words;
  const worked = job.timings?.total_s;
  return worked ? `${words} in ${worked.toFixed(1)} s, ${(total / 25 / worked).toFixed(1)}× real time` : words;
}

function clockTime(seconds) {
  const whole = Math.floor(seconds + 0.001);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
