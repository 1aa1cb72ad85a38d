// Keeps a page up to date: exchanges the parts marked data-live when news arrive, counts times. Logs are log.js's.
"use strict";

const live = document.getElementById("live");
const number = new Intl.NumberFormat();

function duration(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const two = (value) => String(value).padStart(2, "0");
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  return `${number.format(Math.floor(seconds / 3600))} h ${two(Math.floor(seconds / 60) % 60)} min`;
}

function count() {
  const now = Date.now();
  for (const element of document.querySelectorAll(".elapsed")) {
    element.textContent = duration(now - Number(element.dataset.since));
  }
  for (const element of document.querySelectorAll("time[data-ms]")) {
    const at = Number(element.dataset.ms);
    const ago = now - at;
    element.title = new Date(at).toLocaleString();
    element.textContent = ago < 86400000 ? (ago < 5000 ? "just now" : `${duration(ago - ago % (ago < 60000 ? 1000 : 60000)).replace(" 00 s", "")} ago`) : element.title;
  }
}

// What the server last said in each part; the page itself differs by the times that are counted in it.
const said = new WeakMap();
for (const part of document.querySelectorAll("[data-live]")) said.set(part, part.innerHTML);

let refreshing = false;
let wanted = false;

async function refresh() {
  if (refreshing) { wanted = true; return; }
  refreshing = true;
  try {
    const answer = await fetch(document.querySelector("[data-live-from]")?.dataset.liveFrom ?? location.href, { headers: { accept: "text/html" } });
    if (answer.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const other = fresh.getElementById(part.id);
        if (other && other.innerHTML !== said.get(part)) {
          said.set(part, other.innerHTML);
          part.innerHTML = other.innerHTML;
        }
      }
      const log = document.getElementById("log");
      const newest = fresh.getElementById("log");
      if (newest && (!log || log.dataset.attempt !== newest.dataset.attempt)) location.reload();
      count();
    }
  } catch { /* the stream says that the connection is gone */ }
  // Many changes at once are one refresh.
  setTimeout(() => { refreshing = false; if (wanted) { wanted = false; refresh(); } }, 400);
}

function watch() {
  const events = new EventSource("/events");
  let lost = false;
  events.onopen = () => { live.className = "on"; live.textContent = "live"; if (lost) { lost = false; refresh(); document.dispatchEvent(new Event("moraine:change")); } };
  events.onerror = () => { live.className = "off"; live.textContent = "connecting"; lost = true; };
  events.addEventListener("change", () => { refresh(); document.dispatchEvent(new Event("moraine:change")); });
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  const answerText = button.parentElement.querySelector(".answer");
  button.disabled = true;
  try {
    const answer = await fetch(button.dataset.post, { method: "POST", headers: { "x-moraine": "1" } });
    const body = await answer.json();
    if (answer.ok) refresh();
    else answerText.textContent = [body.error.message, ...body.error.causes, ...body.error.hints].join(": ");
  } catch { answerText.textContent = "Summit does not answer."; }
  button.disabled = false;
});

count();
setInterval(count, 1000);
watch();
