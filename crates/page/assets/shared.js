// What the pages of the local collector and of the gateway share. Text of clients reaches the
// document through `textContent` alone, by `shown`.

/** Control characters and those that hide or reorder their neighbours. */
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb]|\ud82f[\udca0-\udca3]|\ud834[\udd73-\udd7a]|[\udb40-\udb43][\udc00-\udfff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Text with a symbol for each invisible character, cut at a length. */
export function shown(text, max = 200) {
  text = String(text ?? "");
  let cut = text;
  if (text.length > max) {
    let end = max;
    if (/[\ud800-\udbff]/.test(text[end - 1])) end -= 1;
    cut = text.slice(0, end) + "…";
  }
  return cut.replace(INVISIBLE, symbol);
}

/** As `shown`, but keeps line breaks and tabs, for texts with several lines. */
export function shownLines(text, max = 100000) {
  return String(text ?? "").replace(/\r\n/g, "\n").split("\n").map((line) =>
    line.split("\t").map((part) => shown(part, max)).join("\t")).join("\n").slice(0, max);
}

function symbol(found) {
  const code = found.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return "‹" + code.toString(16).toUpperCase().padStart(4, "0") + "›";
}

/** Creates an element. Children are elements or texts; `on…` are listeners. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Changes a text only if it differs, so that screen readers and selections stay undisturbed. */
export function setText(element, text) {
  text = String(text);
  if (element.textContent !== text) element.textContent = text;
}

/** Changes text and class of a cell. */
export function setCell(cell, text, kind = "") {
  setText(cell, text);
  if (cell.dataset.kind !== kind) {
    if (cell.dataset.kind) cell.classList.remove(cell.dataset.kind);
    if (kind) cell.classList.add(kind);
    cell.dataset.kind = kind;
  }
}

const whole = new Intl.NumberFormat("en-US");
export const number = (n) => whole.format(n ?? 0);
export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; n >= 1024 && unit < 4; unit++) n /= 1024;
  return (unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + " " + units[unit];
}
export function duration(nanos) {
  if (nanos < 1e3) return Math.round(nanos) + " ns";
  if (nanos < 1e6) return trim(nanos / 1e3) + " µs";
  if (nanos < 1e9) return trim(nanos / 1e6) + " ms";
  if (nanos < 60e9) return trim(nanos / 1e9) + " s";
  return span(nanos / 1e9);
}
const trim = (n) => (n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2));
/** Seconds as `5 s`, `3 min`, `2 h 5 min`, `4 d`. */
export function span(seconds) {
  if (seconds < 60) return Math.max(0, Math.floor(seconds)) + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min";
  if (seconds < 86400) return Math.floor(seconds / 3600) + " h " + Math.floor((seconds % 3600) / 60) + " min";
  if (seconds < 86400 * 10000) return Math.floor(seconds / 86400) + " d";
  return "long";
}
export function clock(millis) {
  const date = new Date(millis);
  return Number.isNaN(date.getTime()) ? "?" : date.toLocaleTimeString("en-GB");
}
export function dateTime(millis) {
  const date = new Date(millis);
  return Number.isNaN(date.getTime()) ? "?" : date.toISOString().replace("T", " ").replace("Z", " UTC");
}

/** Says something to screen readers. */
export function announce(text) {
  const place = byId("announcer");
  if (place) place.textContent = text;
}

/** Calls `work` once before the next frame, however often it is asked. */
export function onFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; work(); });
  };
}

/** Button that goes through the themes. The choice lives as long as the page. */
export function themeButton(button) {
  const themes = ["auto", "light", "dark"];
  let chosen = 0;
  const show = () => {
    const theme = themes[chosen];
    if (theme === "auto") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.dataset.theme = theme;
    setText(button, { auto: "◐ auto", light: "○ light", dark: "● dark" }[theme]);
    button.setAttribute("aria-label", "Theme: " + theme);
  };
  button.addEventListener("click", () => { chosen = (chosen + 1) % themes.length; show(); });
  show();
}

/** Longest line of a stream, in characters. */
const MAX_LINE = 16 * 1024 * 1024;
/** A stream without a byte for so long is lost. */
const SILENCE_MILLIS = 25000;

/**
 * Reads a stream of lines of JSON, and connects again when it ends. `onState` gets "connecting",
 * "live", "lost", "paused" or "refused". A page that is not visible pauses, so that it does not
 * occupy a connection. Returns a function that ends it.
 */
export function follow(url, { headers = () => ({}), onLine, onState }) {
  let ended = false, controller = null, failures = 0, timer = 0;

  async function connect() {
    clearTimeout(timer);
    if (ended || document.hidden) return;
    const own = new AbortController();
    controller = own;
    let watchdog = setTimeout(() => own.abort(), SILENCE_MILLIS);
    try {
      const response = await fetch(typeof url === "function" ? url() : url, {
        headers: headers(), signal: own.signal, cache: "no-store", credentials: "omit",
      });
      if (response.status === 401 || response.status === 403) {
        onState("refused", response.status);
        ended = true;
        return own.abort();
      }
      if (!response.ok) throw new Error("status " + response.status);
      // The first line may be a heartbeat, much later.
      onState("live");
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        clearTimeout(watchdog);
        watchdog = setTimeout(() => own.abort(), SILENCE_MILLIS);
        rest += decoder.decode(value, { stream: true });
        if (rest.length > MAX_LINE) throw new Error("line too long");
        const lines = rest.split("\n");
        rest = lines.pop();
        failures = 0;
        onState("live");
        for (const line of lines) if (line) onLine(JSON.parse(line));
      }
      throw new Error("ended");
    } catch {
      own.abort();
      if (ended || controller !== own) return;
      controller = null;
      if (document.hidden) return onState("paused");
      failures += 1;
      onState("lost");
      timer = setTimeout(connect, Math.min(4000, 250 * 2 ** Math.min(failures - 1, 4)));
    } finally {
      clearTimeout(watchdog);
    }
  }

  function visibility() {
    if (document.hidden) controller?.abort();
    else if (!controller) connect();
  }
  document.addEventListener("visibilitychange", visibility);
  onState("connecting");
  connect();
  return () => {
    ended = true;
    clearTimeout(timer);
    controller?.abort();
    document.removeEventListener("visibilitychange", visibility);
  };
}

/** Shows the state of a stream in the header, and a banner while the connection is lost. */
export function showState(state, lastMillis) {
  const words = { connecting: "connecting…", live: "live", lost: "reconnecting…", paused: "paused", refused: "not signed in" };
  const place = byId("state");
  if (place.dataset.state !== state) {
    const before = place.dataset.state;
    place.dataset.state = state;
    setText(place, words[state]);
    if (state === "live" && before === "lost") announce("Connection restored");
  }
  const banner = byId("banner");
  banner.hidden = state !== "lost";
  if (state === "lost" && banner.dataset.for !== String(lastMillis)) {
    banner.dataset.for = String(lastMillis);
    setText(banner, "Connection lost. " + (lastMillis ? "The data below is from " + clock(lastMillis) + ". " : "") + "Trying again…");
  }
}

/**
 * A table that draws only the rows in its window. `columns`: `{ title, name?, class?, width?, draw(cell, row) }`;
 * one with a `name` sorts. Rows have a height of 28 px. Arrow keys move, Enter opens.
 */
export class Rows {
  constructor(place, { label, columns, key, open, sort, onSort, decorate, role = "grid", keys = {}, height = 28 }) {
    Object.assign(this, { columns, key, open, onSort, decorate, keys, height });
    this.sort = sort;
    this.rows = [];
    this.drawn = new Map();
    this.active = null;
    this.top = el("tr", { class: "spacer", "aria-hidden": "true" }, el("td"));
    this.bottom = el("tr", { class: "spacer", "aria-hidden": "true" }, el("td"));
    this.body = el("tbody", {}, this.top, this.bottom);
    this.heads = columns.map((column) => this.head(column));
    const group = el("colgroup", {}, ...columns.map((column) => el("col", { class: column.class ?? null })));
    columns.forEach((column, index) => { if (column.width) group.children[index].style.width = column.width; });
    this.table = el("table", { class: "rows", role, "aria-label": label }, group, el("thead", {}, el("tr", {}, ...this.heads)), this.body);
    this.scroller = el("div", { class: "scroller", tabindex: "-1" }, this.table);
    place.append(this.scroller);
    this.draw = onFrame(() => this.drawNow());
    this.scroller.addEventListener("scroll", this.draw, { passive: true });
    this.scroller.addEventListener("keydown", (event) => this.keydown(event));
    this.body.addEventListener("click", (event) => {
      const row = this.rowOf(event.target);
      if (row && !event.target.closest("a, button")) { this.activate(row); this.open?.(row); }
    });
    this.body.addEventListener("focusin", (event) => {
      const row = this.rowOf(event.target);
      if (row) this.active = this.key(row);
    });
    new ResizeObserver(this.draw).observe(this.scroller);
  }

  head(column) {
    const cell = el("th", { scope: "col", class: column.class ?? null });
    if (!column.name) {
      cell.append(column.title instanceof Node ? column.title : el("span", {}, column.title));
      return cell;
    }
    cell.append(el("button", {
      type: "button",
      onclick: () => {
        const descending = this.sort?.name === column.name ? !this.sort.descending : (column.descending ?? false);
        this.sort = { name: column.name, descending };
        this.showSort();
        this.onSort(this.sort);
        announce("Sorted by " + column.title + (descending ? ", descending" : ", ascending"));
      },
    }, column.title));
    return cell;
  }

  showSort() {
    this.columns.forEach((column, index) => {
      if (!column.name) return;
      const value = this.sort?.name === column.name ? (this.sort.descending ? "descending" : "ascending") : "none";
      this.heads[index].setAttribute("aria-sort", value);
    });
  }

  set(rows) {
    this.rows = rows;
    this.table.setAttribute("aria-rowcount", rows.length + 1);
    this.showSort();
    this.draw();
  }

  rowOf(target) {
    const line = target.closest("tr");
    return line && this.body.contains(line) ? line.row : null;
  }

  indexOfActive() {
    return this.active == null ? -1 : this.rows.findIndex((row) => this.key(row) === this.active);
  }

  drawNow() {
    const { scroller, height, rows } = this;
    const room = Math.max(scroller.clientHeight - height, height);
    const first = Math.max(0, Math.min(Math.floor(scroller.scrollTop / height) - 6, rows.length - 1));
    const last = Math.min(rows.length, Math.ceil((scroller.scrollTop + room) / height) + 6);
    const wanted = new Map();
    for (let index = first; index < last; index++) wanted.set(this.key(rows[index]), index);
    for (const [key, line] of this.drawn) {
      if (wanted.has(key)) continue;
      const hadFocus = line.contains(document.activeElement);
      line.remove();
      this.drawn.delete(key);
      if (hadFocus) this.scroller.focus({ preventScroll: true });
    }
    const active = wanted.has(this.active) ? this.active : wanted.keys().next().value;
    let after = this.top;
    for (const [key, index] of wanted) {
      const row = rows[index];
      let line = this.drawn.get(key);
      if (!line) {
        line = el("tr", {}, ...this.columns.map((column) => el("td", { class: column.class ?? null })));
        this.drawn.set(key, line);
      }
      line.row = row;
      this.columns.forEach((column, place) => column.draw(line.children[place], row));
      line.setAttribute("aria-rowindex", index + 2);
      line.tabIndex = key === active ? 0 : -1;
      this.decorate?.(line, row);
      if (after.nextSibling !== line) {
        // Moving an element takes its focus.
        const hadFocus = line === document.activeElement;
        after.after(line);
        if (hadFocus) line.focus({ preventScroll: true });
      }
      after = line;
    }
    this.top.firstChild.style.height = first * height + "px";
    this.bottom.firstChild.style.height = Math.max(0, rows.length - last) * height + "px";
  }

  activate(row, focus = true) {
    this.active = this.key(row);
    const index = this.indexOfActive();
    const { scroller, height } = this;
    const top = index * height, room = scroller.clientHeight - height;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + height > scroller.scrollTop + room) scroller.scrollTop = top + height - room;
    this.drawNow();
    if (focus) this.drawn.get(this.active)?.focus({ preventScroll: true });
  }

  keydown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("thead, input, a")) return;
    const at = this.indexOfActive();
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.height) - 2);
    const end = this.rows.length - 1;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: end }[event.key];
    if (to !== undefined && end >= 0) {
      event.preventDefault();
      this.activate(this.rows[Math.max(0, Math.min(end, to))]);
    } else if (event.key === "Enter" && at >= 0) {
      event.preventDefault();
      this.open?.(this.rows[at]);
    } else if (this.keys[event.key] && at >= 0) {
      event.preventDefault();
      this.keys[event.key](this.rows[at]);
    }
  }
}

/** Compares values for a sort: numbers by size, texts by alphabet. */
export function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  one = String(one); other = String(other);
  return one < other ? -1 : one > other ? 1 : 0;
}
