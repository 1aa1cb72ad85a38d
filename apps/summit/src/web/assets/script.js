// Keeps a page up to date: exchanges the parts marked data-live when news arrive, counts times, does what buttons say. Logs are log.js's.
"use strict";

document.documentElement.classList.add("js");
const live = document.getElementById("live");
const lost = document.getElementById("lost");

// The reader's clock may be wrong; the server's counts.
let ahead = Number(document.body.dataset.now) - Date.now();
const serverNow = () => Date.now() + ahead;

function duration(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const two = (value) => String(value).padStart(2, "0");
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${two(Math.floor(seconds / 60) % 60)} min`;
}

function ago(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min ago`;
  const days = Math.floor(seconds / 86400);
  return days === 1 ? "a day ago" : `${days} days ago`;
}

function say(element, text) { if (element.textContent !== text) element.textContent = text; }

function count() {
  const now = serverNow();
  for (const element of document.querySelectorAll(".elapsed")) say(element, duration(now - Number(element.dataset.since)));
  for (const element of document.querySelectorAll("time[datetime]")) {
    const at = Date.parse(element.dateTime);
    if (!element.title) element.title = new Date(at).toLocaleString();
    say(element, ago(now - at));
  }
  for (const bar of document.querySelectorAll("progress[data-since]")) {
    bar.value = now - Number(bar.dataset.since);
    bar.classList.toggle("late", bar.value > 0 && now - Number(bar.dataset.since) > bar.max);
  }
}

// What the server last said in each part; the page itself differs by the times that are counted in it.
const said = new WeakMap();
for (const part of document.querySelectorAll("[data-live]")) said.set(part, part.innerHTML);

// Parts that somebody works in, with what they will be.
const waiting = new Map();
const typed = (part) => [...part.querySelectorAll("input:not([type=hidden])")];

// Whoever works in a part is not thrown out of it, and what they have typed stays.
function exchange(part, markup) {
  const active = part.contains(document.activeElement) ? document.activeElement : null;
  const selection = getSelection();
  const isSelected = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
  if (active?.matches("input, select, textarea") || isSelected || part.querySelector("button.sure, button:disabled")) {
    waiting.set(part, markup);
    return;
  }
  waiting.delete(part);
  const before = typed(part);
  const pictures = () => [...part.querySelectorAll(".timeline, .channel")];
  const scrolled = pictures().map((picture) => picture.scrollLeft);
  const key = active && ["id", "href", "data-post"].find((name) => active.hasAttribute(name));
  const place = key && `[${key}="${CSS.escape(active.getAttribute(key))}"]`;
  const open = [...part.querySelectorAll("details[open][id]")].map((details) => details.id);
  part.innerHTML = markup;
  for (const id of open) { const details = document.getElementById(id); if (details) details.open = true; }
  const after = typed(part);
  before.forEach((field, at) => { if (field.value !== field.defaultValue && after[at]?.name === field.name) after[at].value = field.value; });
  pictures().forEach((picture, at) => { picture.scrollLeft = scrolled[at] ?? 0; });
  if (place) { const again = part.querySelector(place); if (again) again.focus({ preventScroll: true }); }
}

let refreshing = false;
let wanted = false;
let gone = false;

async function refresh() {
  if (gone) return;
  if (refreshing) { wanted = true; return; }
  refreshing = true;
  try {
    const answer = await fetch(document.querySelector("[data-live-from]")?.dataset.liveFrom ?? location.href, { headers: { accept: "text/html" } });
    if (answer.status === 404) {
      gone = true;
      tell("Summit does not know this any more. What you see is what was known last.");
    } else if (answer.redirected) {
      location.reload();
    } else if (answer.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      ahead = Number(fresh.body.dataset.now) - Date.now();
      document.body.dataset.told = fresh.body.dataset.told;
      for (const part of document.querySelectorAll("[data-live]")) {
        const other = fresh.getElementById(part.id);
        if (!other || other.innerHTML === said.get(part)) continue;
        said.set(part, other.innerHTML);
        exchange(part, other.innerHTML);
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

function tell(text) {
  lost.hidden = !text;
  say(lost, text || "");
}

// A browser has six connections to a host: for all tabs, and for pages that were left and are kept in case somebody comes back. So
// only a page that is seen has streams. What `open` gives is opened again when it is seen again, until the function that is returned is called.
function listen(open) {
  let [stream, left, done] = [null, false, false];
  const pause = () => { stream?.close(); stream = null; };
  const resume = () => {
    if (done || stream || left || document.hidden) return;
    const own = stream = open();
    // Whoever answered something else than a stream is not asked again by the browser.
    own.addEventListener("error", () => {
      if (own === stream && own.readyState === EventSource.CLOSED) { stream = null; setTimeout(resume, 3000); }
    });
  };
  addEventListener("pagehide", () => { left = true; pause(); });
  addEventListener("pageshow", () => { left = false; resume(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden) pause(); else resume(); });
  resume();
  return () => { done = true; pause(); };
}

let lostAt = 0;
let wasLive = false;

function watch() {
  const { told } = document.body.dataset;
  const events = new EventSource(told ? `/events?told=${told}` : "/events");
  events.onopen = () => {
    live.className = "on";
    say(live, "live");
    if (lostAt && !gone) tell("");
    lostAt = 0;
    // What happened meanwhile is caught up with.
    if (wasLive) { refresh(); document.dispatchEvent(new Event("moraine:change")); }
    wasLive = true;
  };
  events.onerror = () => {
    lostAt = lostAt || Date.now();
    live.className = "off";
    say(live, "connecting");
  };
  events.addEventListener("change", () => {
    document.dispatchEvent(new Event("moraine:change"));
    refresh();
  });
  return events;
}

function complain() {
  // A moment without a connection is nothing to talk about.
  if (lostAt && !gone && Date.now() - lostAt > 3000) {
    tell(`Summit does not answer since ${new Date(lostAt).toLocaleTimeString()}. What you see is from then; this page goes on by itself when it is back.`);
  }
}

async function act(element, body) {
  const actions = element.closest(".actions");
  const answerText = actions.querySelector(".answer");
  // What stands in the fields beside it, if it is asked for.
  const fields = (element.dataset.send ?? "").split(" ").filter(Boolean).map((name) => actions.querySelector(`[name=${name}]`));
  if (!body && fields.length) body = Object.fromEntries(fields.map((field) => [field.name, field.value]));
  element.disabled = true;
  try {
    const headers = { "x-moraine": "1" };
    if (body) headers["content-type"] = "application/json";
    const answer = await fetch(element.dataset.post, { method: "POST", headers, body: body && JSON.stringify(body) });
    const told = await answer.json();
    if (answer.ok) {
      for (const field of fields) field.value = field.defaultValue;
      say(answerText, "");
      if (document.activeElement === element) element.blur();
      refresh();
    } else say(answerText, [told.error.message, ...told.error.causes, ...told.error.hints].join(": "));
  } catch { say(answerText, "Summit does not answer."); }
  element.disabled = false;
}

function unsure(button) {
  if (!button.classList.contains("sure")) return;
  button.classList.remove("sure");
  button.textContent = button.dataset.text;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  if (button.dataset.sure && !button.classList.contains("sure")) {
    // What cannot be taken back is asked for twice.
    button.dataset.text = button.textContent;
    button.classList.add("sure");
    button.textContent = button.dataset.sure;
    setTimeout(() => unsure(button), 4000);
    return;
  }
  unsure(button);
  act(button);
});

document.addEventListener("change", (event) => {
  const choice = event.target.closest("select[data-post]");
  if (choice) act(choice, { [choice.name]: choice.value || null });
  const at_once = event.target.closest("select[data-submit]");
  if (at_once) at_once.form.requestSubmit();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const field = document.querySelector("main input[type=search]");
  if (field) { event.preventDefault(); field.focus(); }
});

// On a telephone there is no room for all entries: the one of this page is in sight.
const entry = document.querySelector(".top nav [aria-current]");
if (entry) entry.parentElement.scrollLeft = entry.offsetLeft - entry.parentElement.offsetLeft - (entry.parentElement.clientWidth - entry.offsetWidth) / 2;
count();
setInterval(() => { for (const [part, markup] of [...waiting]) exchange(part, markup); count(); complain(); }, 1000);
if (document.body.dataset.now) listen(watch);
