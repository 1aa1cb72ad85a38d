// A log: follows it while it grows, fetches what is not shown, folds phases, leads to lines.
"use strict";

(() => {
  const log = document.getElementById("log");
  if (!log) return;
  const state = document.getElementById("log-state");
  const tail = document.getElementById("tail");
  const base = log.dataset.base;
  // Rows that stay in the page while a log grows; what goes can be asked for again.
  const ROWS_MAX = 20000;
  let sticks = !log.dataset.line;

  const sections = () => [...log.querySelectorAll(":scope > .fold")];
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  let top = 0;

  // Rows get their real heights only when they come into sight, so the end may move on the way to it.
  function toEnd(tries = 8) {
    log.scrollTop = log.scrollHeight;
    top = log.scrollTop;
    if (tries > 0) requestAnimationFrame(() => { if (sticks && !atEnd()) toEnd(tries - 1); });
  }

  function size(bytes) {
    const units = ["B", "KiB", "MiB", "GiB"];
    let unit = 0;
    while (bytes >= 1024 && unit + 1 < units.length) { bytes /= 1024; unit += 1; }
    return unit ? `${bytes.toFixed(1)} ${units[unit]}` : `${bytes} B`;
  }

  function piece(begin, end, html) {
    const element = document.createElement("div");
    element.className = "piece";
    element.dataset.begin = begin;
    element.dataset.end = end;
    // Rows come from our own server, which has escaped them.
    element.innerHTML = html;
    return element;
  }

  function pager(begin, end, back) {
    const paragraph = document.createElement("p");
    const link = document.createElement("a");
    paragraph.className = "more";
    link.href = "#";
    paragraph.append(link);
    say(link, begin, end, back);
    return paragraph;
  }

  function say(link, begin, end, back) {
    link.dataset.begin = begin;
    link.dataset.end = end;
    if (back) link.dataset.back = "1"; else delete link.dataset.back;
    link.textContent = `${back ? "↑" : "↓"} ${size(end - begin)} more`;
  }

  // Puts what a pager stands for in its place, and leaves it there for the rest.
  async function load(link) {
    const { begin, end, back } = link.dataset;
    if (link.dataset.busy) return;
    link.dataset.busy = "1";
    try {
      const query = new URLSearchParams({ begin, end });
      if (back) query.set("back", "true");
      const answer = await fetch(`${base}/rows?${query}`);
      if (!answer.ok) throw new Error(answer.status);
      const rows = await answer.json();
      const paragraph = link.closest(".more");
      const element = piece(rows.begin, rows.end, rows.html);
      const before = log.scrollHeight;
      if (back) {
        paragraph.after(element);
        if (rows.begin > Number(begin)) say(link, Number(begin), rows.begin, true); else paragraph.remove();
        log.scrollTop += log.scrollHeight - before;
      } else {
        paragraph.before(element);
        if (rows.end < Number(end) && rows.end > rows.begin) say(link, rows.end, Number(end), false); else paragraph.remove();
      }
    } catch { link.textContent = "Summit does not answer; try again"; }
    delete link.dataset.busy;
  }

  log.addEventListener("click", (event) => {
    const link = event.target.closest(".more a");
    if (!link) return;
    event.preventDefault();
    sticks = false;
    load(link);
  });

  // A phase of which nothing is shown yet is fetched when it is opened.
  log.addEventListener("toggle", (event) => {
    const fold = event.target;
    if (!fold.open || fold.querySelector(".piece")) return;
    const link = fold.querySelector(".more a");
    if (link) load(link);
  }, true);

  function newSection(name, line, begin) {
    const details = document.createElement("details");
    details.className = "fold";
    details.open = true;
    details.dataset.line = line;
    details.dataset.begin = begin;
    const summary = document.createElement("summary");
    const part = (tag, name, ...texts) => {
      const element = document.createElement(tag);
      element.className = name;
      element.append(...texts);
      return element;
    };
    summary.append(part("span", "name", name), " ");
    summary.append(part("small", "", part("span", "lines", "0"), " lines, ", part("span", "bytes", "0 B")));
    details.append(summary);
    tail.before(details);
    return details;
  }

  // Brings up to date how much there is.
  function count(section, end) {
    const last = [...section.querySelectorAll(":scope > .piece")].at(-1);
    const ids = last ? [...last.querySelectorAll(":scope > [id]")] : [];
    const line = ids.length ? Number(ids.at(-1).id.slice(1)) : 0;
    const lines = section.querySelector("summary .lines");
    const bytes = section.querySelector("summary .bytes");
    if (lines && line) lines.textContent = line - Number(section.dataset.line) + 1;
    if (bytes) bytes.textContent = size(end - Number(section.dataset.begin));
    const all = document.getElementById("log-lines");
    if (all && line) all.textContent = line;
    const whole = document.getElementById("log-size");
    if (whole) whole.textContent = size(end);
  }

  function shorten() {
    let rows = log.querySelectorAll(".r").length;
    for (const old of [...log.querySelectorAll(".piece")]) {
      if (rows <= ROWS_MAX) return;
      const next = old.nextElementSibling;
      // The last rows of each phase stay.
      if (!next || !next.classList.contains("piece")) continue;
      rows -= old.childElementCount;
      const above = old.previousElementSibling;
      const link = above && above.querySelector(":scope > a[data-back]");
      if (link) say(link, Number(link.dataset.begin), Number(next.dataset.begin), true);
      else old.before(pager(Number(old.dataset.begin), Number(next.dataset.begin), true));
      old.remove();
    }
  }

  function follow() {
    let seen = log.dataset.offset;
    const end = listen(() => {
      // The browser goes on by itself after what it has seen.
      const stream = new EventSource(`${base}/stream?offset=${seen}`);
      stream.addEventListener("rows", (event) => { seen = event.lastEventId || seen; show(JSON.parse(event.data)); });
      stream.addEventListener("skip", (event) => {
        seen = event.lastEventId || seen;
        const data = JSON.parse(event.data);
        const section = sections().at(-1);
        if (section) section.append(pager(data.begin, data.end, false));
        tail.innerHTML = "";
      });
      stream.addEventListener("end", () => {
        end();
        if (state && !log.querySelector(".r")) state.textContent = "The log is empty.";
      });
      return stream;
    });
  }

  function show(data) {
    for (const part of data.parts) {
      let section = sections().at(-1);
      if (part.phase || !section) section = newSection(part.phase || "log", part.line, part.begin);
      section.append(piece(part.begin, part.end, part.html));
      count(section, part.end);
    }
    tail.innerHTML = data.tail || "";
    if (state) state.textContent = "";
    shorten();
    if (sticks) toEnd();
  }

  // What the page was opened for, such as the first error of a failed build, without moving the page itself.
  function toWanted() {
    const row = log.querySelector(".r.wanted");
    if (row) log.scrollTop += row.getBoundingClientRect().top - log.getBoundingClientRect().top - log.clientHeight / 3;
  }

  // The line that an address ends with, wherever in the log it is.
  function toLine() {
    const match = /^#L(\d+)$/.exec(location.hash);
    if (!match) return false;
    const row = document.getElementById(`L${match[1]}`);
    if (!row) {
      if (log.dataset.line !== match[1]) location.replace(`${log.dataset.page}?line=${match[1]}#L${match[1]}`);
      return false;
    }
    const fold = row.closest("details");
    if (fold) fold.open = true;
    sticks = false;
    row.scrollIntoView({ block: "center" });
    return true;
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    const folds = [...log.querySelectorAll("details.fold")];
    const summaries = folds.map((fold) => fold.querySelector("summary"));
    const here = summaries.indexOf(document.activeElement);
    const go = (place) => { const summary = summaries[place]; if (summary) { sticks = false; summary.focus(); summary.scrollIntoView({ block: "start" }); } };
    switch (event.key) {
      case "n": go(here + 1); break;
      case "p": go(here < 0 ? summaries.length - 1 : here - 1); break;
      case "f": { const open = !folds.some((fold) => fold.open); for (const fold of folds) fold.open = open; break; }
      case "e": { const last = folds.at(-1); if (last) last.open = true; sticks = true; toEnd(); break; }
      default: return;
    }
    event.preventDefault();
  });

  for (const hint of document.querySelectorAll(".keys")) hint.hidden = false;
  // Whoever scrolls up wants to read; whoever comes back to the end wants to follow.
  log.addEventListener("scroll", () => {
    if (atEnd()) sticks = true;
    else if (log.scrollTop < top - 4) sticks = false;
    top = log.scrollTop;
  }, { passive: true });
  addEventListener("hashchange", toLine);
  if (!toLine()) { if (sticks) toEnd(); else toWanted(); }
  if (log.dataset.follow) follow();
})();
