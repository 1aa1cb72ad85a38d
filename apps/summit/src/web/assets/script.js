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

// Whoever works in a part is not thrown out of it.
function exchange(part, markup) {
  const active = part.contains(document.activeElement) ? document.activeElement : null;
  if (active && active.matches("input, select, textarea")) return false;
  const selection = getSelection();
  if (selection && !selection.isCollapsed && part.contains(selection.anchorNode)) return false;
  const key = active && ["id", "href", "data-post"].find((name) => active.hasAttribute(name));
  const place = key && `[${key}="${CSS.escape(active.getAttribute(key))}"]`;
  const open = [...part.querySelectorAll("details[open][id]")].map((details) => details.id);
  part.innerHTML = markup;
  for (const id of open) { const details = document.getElementById(id); if (details) details.open = true; }
  if (place) { const again = part.querySelector(place); if (again) again.focus({ preventScroll: true }); }
  return true;
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
      for (const part of document.querySelectorAll("[data-live]")) {
        const other = fresh.getElementById(part.id);
        if (!other || other.innerHTML === said.get(part)) continue;
        if (exchange(part, other.innerHTML)) said.set(part, other.innerHTML); else wanted = true;
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

let lostAt = 0;

function watch() {
  const events = new EventSource("/events");
  events.onopen = () => {
    live.className = "on";
    say(live, "live");
    // What happened meanwhile is caught up with.
    if (lostAt) { lostAt = 0; if (!gone) tell(""); refresh(); document.dispatchEvent(new Event("moraine:change")); }
  };
  events.onerror = () => {
    lostAt = lostAt || Date.now();
    live.className = "off";
    say(live, "connecting");
    // Whoever answered something else than news is not asked again by the browser.
    if (events.readyState === EventSource.CLOSED) setTimeout(watch, 3000);
  };
  events.addEventListener("change", () => {
    document.dispatchEvent(new Event("moraine:change"));
    refresh();
  });
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
  const why = actions.querySelector("input[name=why]");
  if (!body && why && element.dataset.why) body = { why: why.value };
  element.disabled = true;
  try {
    const headers = { "x-moraine": "1" };
    if (body) headers["content-type"] = "application/json";
    const answer = await fetch(element.dataset.post, { method: "POST", headers, body: body && JSON.stringify(body) });
    const told = await answer.json();
    if (answer.ok) {
      if (why) why.value = "";
      say(answerText, "");
      if (document.activeElement === element) element.blur();
      refresh();
    } else say(answerText, [told.error.message, ...told.error.causes, ...told.error.hints].join(": "));
  } catch { say(answerText, "Summit does not answer."); }
  element.disabled = false;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  const question = button.dataset.sure;
  if (question && !button.classList.contains("sure")) {
    // What cannot be taken back is asked for twice.
    const text = button.textContent;
    button.classList.add("sure");
    button.textContent = question;
    setTimeout(() => { button.classList.remove("sure"); button.textContent = text; }, 4000);
    return;
  }
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

count();
setInterval(() => { count(); complain(); }, 1000);
if (document.body.dataset.now) watch();
