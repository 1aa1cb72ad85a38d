// The picture of the build order: moving about, zoom, search, neighbours of a recipe, and new states without new places.
// The page is complete without it.
"use strict";

(() => {
  const SCALE_MIN = 0.15, SCALE_MAX = 2.5, NAMES_FROM = 0.55;
  const place = (id) => document.getElementById(id);
  const asked = new URLSearchParams(location.search);
  const scope = new URLSearchParams(["project", "arch", "show"].filter((key) => asked.get(key)).map((key) => [key, asked.get(key)]));

  let queue, frame, svg, map, seen, width, height, cell, signs, cells, byName, layout;
  let scale = 1, chosen = null, found = [], foundAt = -1;

  function take(element) {
    queue = element;
    [frame, svg, map, seen] = ["q-frame", "q-svg", "q-map", "q-window"].map(place);
    [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    cell = Number(svg.dataset.cell);
    const pitch = Number(svg.dataset.pitch);
    // By their letters.
    signs = new Map(svg.dataset.signs.split(",").map((text) => {
      const [letter, word, weight, glyph] = text.split(" ");
      return [letter, { word, isBold: weight === "bold", before: glyph ? `${glyph} ` : "" }];
    }));
    cells = [];
    for (const run of svg.querySelectorAll("foreignObject")) {
      const [x, y, w] = ["x", "y", "width"].map((name) => Number(run.getAttribute(name)));
      [...run.children].forEach((link, row) => {
        const text = link.textContent;
        const sign = [...signs.values()].find(({ before }) => before && text.startsWith(before));
        link.tabIndex = -1;
        cells.push({ link, name: sign ? text.slice(sign.before.length) : text, x, y: y + row * pitch, w, sign });
      });
    }
    byName = new Map(cells.map((one, number) => [one.name, number]));
    if (cells.length) cells[0].link.tabIndex = 0;
    frame.addEventListener("scroll", showWindow, { passive: true });
    frame.addEventListener("wheel", wheel, { passive: false });
    frame.addEventListener("keydown", keys);
    frame.addEventListener("pointerdown", drag);
    svg.addEventListener("click", click);
    svg.addEventListener("focusin", (event) => { const number = cells.findIndex((one) => one.link === event.target); if (number >= 0) choose(number); });
    map.addEventListener("pointerdown", look);
    map.addEventListener("pointermove", (event) => { if (event.buttons) look(event); });
    zoom(scale);
    learnLayout();
  }

  async function ask(path, more = {}) {
    const query = new URLSearchParams(scope);
    for (const [key, value] of Object.entries(more)) query.set(key, value);
    const answer = await fetch(`${path}?${query}`, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(answer.statusText);
    return answer.json();
  }

  // Moving about.

  function showWindow() {
    seen.setAttribute("x", frame.scrollLeft / scale);
    seen.setAttribute("y", frame.scrollTop / scale);
    seen.setAttribute("width", Math.min(width, frame.clientWidth / scale));
    seen.setAttribute("height", Math.min(height, frame.clientHeight / scale));
  }

  function zoom(wanted, atX = frame.clientWidth / 2, atY = frame.clientHeight / 2) {
    const before = scale;
    scale = Math.min(SCALE_MAX, Math.max(SCALE_MIN, wanted));
    svg.setAttribute("width", width * scale);
    svg.setAttribute("height", height * scale);
    queue.classList.toggle("far", scale < NAMES_FROM);
    frame.scrollLeft = (frame.scrollLeft + atX) * scale / before - atX;
    frame.scrollTop = (frame.scrollTop + atY) * scale / before - atY;
    showWindow();
  }

  const fit = () => zoom(Math.min(frame.clientWidth / width, 1));

  function wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = frame.getBoundingClientRect();
    zoom(scale * Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
  }

  function drag(event) {
    if (event.pointerType !== "mouse" || event.button !== 0) return;
    const [left, top, x, y] = [frame.scrollLeft, frame.scrollTop, event.clientX, event.clientY];
    let moved = false;
    const move = (next) => {
      moved ||= Math.abs(next.clientX - x) + Math.abs(next.clientY - y) > 4;
      if (moved) { frame.scrollLeft = left + x - next.clientX; frame.scrollTop = top + y - next.clientY; }
    };
    const end = () => {
      removeEventListener("pointermove", move);
      // What follows a drag is no click.
      if (moved) addEventListener("click", (after) => { after.preventDefault(); after.stopPropagation(); }, { capture: true, once: true });
      setTimeout(() => { moved = false; });
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end, { once: true });
    if (event.target.closest("a")) event.preventDefault();
  }

  function look(event) {
    const box = map.getBoundingClientRect();
    frame.scrollLeft = (event.clientX - box.left) / box.width * width * scale - frame.clientWidth / 2;
    frame.scrollTop = (event.clientY - box.top) / box.height * height * scale - frame.clientHeight / 2;
  }

  function reveal(number) {
    const { x, y, w } = cells[number];
    if (scale < NAMES_FROM) zoom(1);
    frame.scrollLeft = (x + w / 2) * scale - frame.clientWidth / 2;
    frame.scrollTop = (y + cell / 2) * scale - frame.clientHeight / 2;
  }

  // Neighbours.

  function click(event) {
    const link = event.target.closest("a");
    const number = cells.findIndex((one) => one.link === link);
    if (number < 0) { if (!link) forget(); return; }
    // The keyboard, a second click and a new tab lead to the task.
    if (event.detail === 0 || event.ctrlKey || event.metaKey || event.shiftKey || (chosen === number && link.href)) return;
    event.preventDefault();
    link.focus({ preventScroll: true });
    choose(number);
  }

  function forget() {
    chosen = null;
    queue.classList.remove("focused");
    place("q-near").replaceChildren();
    place("q-panel").hidden = true;
    for (const { link } of cells) link.classList.remove("near");
  }

  const box = ({ x, y, w }) => `M${x} ${y}h${w}v${cell}h-${w}z`;
  const curve = (from, to) => {
    const [x1, y1, x2, y2] = [from.x + from.w, from.y + cell / 2, to.x, to.y + cell / 2];
    const bend = Math.max(30, (x2 - x1) / 2);
    return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
  };

  async function choose(number) {
    if (chosen === number) return;
    for (const one of cells) one.link.tabIndex = -1;
    cells[number].link.tabIndex = 0;
    forget();
    chosen = number;
    const self = cells[number];
    let near;
    try { near = await ask("/api/queue/neighbours", { find: self.name }); } catch { return; }
    if (chosen !== number || cells[number] !== self) return;
    const paths = { needs: "", users: "", deferred: "", frames: "", self: box(self) };
    self.link.classList.add("near");
    const edge = (other, kind, way) => {
      const at = byName.get(other.source);
      if (at === undefined) return;
      cells[at].link.classList.add("near");
      paths[other.deferred ? "deferred" : kind] += way(cells[at]);
      paths.frames += box(cells[at]);
    };
    for (const other of near.needs) edge(other, "needs", (at) => curve(at, self));
    for (const other of near.needed_by) edge(other, "users", (at) => curve(self, at));
    place("q-near").replaceChildren(...Object.entries(paths).map(([kind, d]) => {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", kind);
      path.setAttribute("d", d);
      return path;
    }));
    queue.classList.add("focused");
    tell(near);
  }

  function line(...parts) {
    const element = document.createElement("p");
    element.append(...parts);
    return element;
  }

  function leading(address, text, bold) {
    const link = document.createElement("a");
    link.href = address;
    link.append(text);
    if (!bold) return link;
    const strong = document.createElement("strong");
    strong.append(link);
    return strong;
  }

  function tell(near) {
    const panel = place("q-panel");
    const time = (milliseconds) => duration(milliseconds);
    const first = line(near.task === null ? near.source : leading(`/tasks/${near.task}`, near.source, true), `: ${near.state}`);
    if (near.expected_ms) first.append(`, expected to take ${time(near.expected_ms)}`);
    if (near.way_ms) first.append(`; with what waits for it at least ${time(near.way_ms)}`);
    if (near.knot) first.append(`. One of ${near.knot} recipes that need each other`);
    const names = (title, list) => {
      const open = list.filter((other) => other.state !== "published" && other.state !== "none");
      const element = line(`${title} ${list.length}`);
      if (list.length > open.length) element.append(`, of which ${list.length - open.length} are done`);
      open.slice(0, 12).forEach((other, at) => {
        element.append(at ? ", " : ": ", other.source, other.state === "waiting" ? "" : ` (${other.state})`, other.deferred ? " (previous generation)" : "");
      });
      if (open.length > 12) element.append(` and ${open.length - 12} more`);
      return element;
    };
    panel.className = near.state;
    panel.replaceChildren(first, names("needs", near.needs), names("is needed by", near.needed_by));
    panel.hidden = false;
  }

  // Keys.

  function step(number, right, down) {
    const from = cells[number];
    const far = (one) => {
      const [x, y] = [one.x + one.w / 2 - from.x - from.w / 2, one.y - from.y];
      if (right ? Math.sign(x) !== right || one.x === from.x : one.x !== from.x || Math.sign(y) !== down) return Infinity;
      return right ? Math.abs(x) + 3 * Math.abs(y) : Math.abs(y);
    };
    let best = null;
    cells.forEach((one, at) => { if (one.link.href && far(one) < (best === null ? Infinity : far(cells[best]))) best = at; });
    return best;
  }

  function keys(event) {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const at = cells.findIndex((one) => one.link === document.activeElement);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrows && at >= 0) {
      const next = step(at, ...arrows);
      if (next !== null) { reveal(next); cells[next].link.tabIndex = 0; cells[next].link.focus({ preventScroll: true }); }
    } else if (event.key === "+" || event.key === "=") zoom(scale * 1.3);
    else if (event.key === "-") zoom(scale / 1.3);
    else if (event.key === "0") zoom(1);
    else if (event.key === "Escape") { forget(); frame.focus(); }
    else return;
    event.preventDefault();
  }

  // Search.

  function find(text) {
    const wanted = text.trim().toLowerCase();
    found = wanted ? cells.flatMap((one, number) => one.name.toLowerCase().includes(wanted) ? [number] : []) : [];
    foundAt = -1;
    place("q-found").setAttribute("d", found.map((number) => box(cells[number])).join(""));
    place("q-count").textContent = wanted ? `${found.length} found` : "";
  }

  function nextFound() {
    if (!found.length) return;
    foundAt = (foundAt + 1) % found.length;
    reveal(found[foundAt]);
    choose(found[foundAt]);
    place("q-count").textContent = `${foundAt + 1} of ${found.length}`;
  }

  // What changes.

  async function learnLayout() {
    try { layout = (await ask("/api/queue/signs")).layout; } catch { layout = undefined; }
  }

  function show(letters, critical) {
    const paths = new Map([...signs.values()].map((sign) => [sign, ""]));
    [...letters].forEach((letter, number) => {
      const [one, sign] = [cells[number], signs.get(letter)];
      paths.set(sign, paths.get(sign) + `M${one.x} ${one.y + Math.floor(cell / 2)}h${one.w}`);
      if (one.sign === sign) return;
      if ((one.sign?.before ?? "") !== sign.before) one.link.textContent = sign.before + one.name;
      if (one.sign?.isBold) one.link.classList.remove(one.sign.word);
      if (sign.isBold) one.link.classList.add(sign.word);
      one.sign = sign;
    });
    for (const [sign, d] of paths) {
      const path = place(`q-c-${sign.word}`);
      if (path.getAttribute("d") !== d) path.setAttribute("d", d);
    }
    const way = critical.map((number) => cells[number]);
    place("q-critical").setAttribute("d", way.map((one, at) => (at ? curve(way[at - 1], one) : "") + box(one)).join(""));
  }

  let busy = false, again = false;

  async function follow() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const news = await ask("/api/queue/signs");
      if (news.layout === layout && news.signs.length === cells.length) show(news.signs, news.critical_path);
      else await redraw();
    } catch { /* the stream says that the connection is gone */ }
    setTimeout(() => { busy = false; if (again) { again = false; follow(); } }, 800);
  }

  // Somebody is new or has gone: everything may stand elsewhere, so the view is kept where the chosen one is.
  async function redraw() {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(".queue");
    if (!fresh) { location.reload(); return; }
    const [left, top, name] = [frame.scrollLeft, frame.scrollTop, chosen === null ? null : cells[chosen].name];
    const before = name === null ? null : cells[chosen];
    const hadFocus = frame.contains(document.activeElement);
    chosen = null;
    queue.replaceWith(fresh);
    take(fresh);
    const at = name === null ? undefined : byName.get(name);
    frame.scrollLeft = left + (at === undefined ? 0 : (cells[at].x - before.x) * scale);
    frame.scrollTop = top + (at === undefined ? 0 : (cells[at].y - before.y) * scale);
    if (at !== undefined) { if (hadFocus) cells[at].link.focus({ preventScroll: true }); choose(at); }
    find(place("q-find").value);
  }

  function button(text, label, act) {
    const element = document.createElement("button");
    element.type = "button";
    element.className = "quiet";
    element.textContent = text;
    element.setAttribute("aria-label", label);
    element.title = label;
    element.addEventListener("click", act);
    return element;
  }

  const begin = document.querySelector(".queue");
  if (!begin) return;
  take(begin);
  place("q-zoom").append(
    button("−", "smaller", () => zoom(scale / 1.3)), button("+", "larger", () => zoom(scale * 1.3)),
    button("all", "all at once", fit), button("1:1", "1:1, at its own size", () => zoom(1)),
  );
  place("q-keys").textContent = "Choose a recipe for its neighbours, twice for its task; arrows move, + and − zoom.";
  place("q-find").addEventListener("input", (event) => find(event.target.value));
  place("q-find").form.addEventListener("submit", (event) => { event.preventDefault(); find(place("q-find").value); nextFound(); });
  place("q-find").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || foundAt < 0) return;
    event.preventDefault();
    nextFound();
  });
  addEventListener("resize", showWindow);
  document.addEventListener("moraine:change", follow);
  find(place("q-find").value);
})();
