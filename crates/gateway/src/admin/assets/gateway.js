import {
  Rows, announce, byId, bytes, dateTime, el, follow, number, setCell, setText, showState, shown, shownLines, span, themeButton,
} from "/page/shared.js";

/** Shortest time between two requests for what is shown. */
const REFRESH_MILLIS = 1000;
const PAGE_ROWS = 100;
/** The gateway keeps the last hour of a tenant by minutes. */
const HISTORY_MINUTES = 60, HISTORY_REFRESH_MILLIS = 10000;

// In the memory of this page alone.
let token = null;
let place = { kind: "tenants" };
let lastAnswer = 0, endStream = null, visited = [];
let order = "selector";
/** The history of the tenant that is shown. */
let past = { selector: null, at: 0, answer: null };

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function get(path, signal) {
  const response = await fetch(path, {
    headers: { authorization: "Bearer " + token }, signal, cache: "no-store", credentials: "omit", redirect: "error",
  });
  const answer = await response.json();
  if (!response.ok) throw new Refused(response.status, answer.error?.message ?? "status " + response.status);
  lastAnswer = Date.now();
  return answer;
}

// ---- Signing in ----

byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = byId("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) return setText(byId("refusal"), "A token has visible ASCII characters only.");
  token = given;
  try {
    await get("/api/attention");
  } catch (error) {
    token = null;
    setText(byId("refusal"), error instanceof Refused ? refusalText(error) : "The gateway does not answer.");
    byId("token").select();
    return;
  }
  byId("token").value = "";
  setText(byId("refusal"), "");
  byId("sign-in").hidden = true;
  byId("sign-out").hidden = false;
  announce("Signed in");
  startStream();
  go();
  byId("main").focus({ preventScroll: true });
});

const refusalText = (error) => error.status === 401 ? "The gateway does not know this token."
  : error.status === 403 ? "This token may only read metrics." : shown(error.message, 300);

function signOut(message) {
  token = null;
  endStream?.();
  endStream = null;
  past = { selector: null, at: 0, answer: null };
  rates.clear();
  refresh.stop();
  for (const id of ["attention", "tenants", "other", "sign-out"]) byId(id).hidden = true;
  byId("attention").replaceChildren();
  byId("other").replaceChildren();
  tenantRows.set([]);
  byId("sign-in").hidden = false;
  setText(byId("refusal"), message);
  showState("refused");
  byId("token").focus();
}
byId("sign-out").addEventListener("click", () => signOut(""));

function startStream() {
  endStream?.();
  let after = 0;
  endStream = follow(() => "/api/events?after=" + after, {
    headers: () => ({ authorization: "Bearer " + token }),
    onLine: (change) => { if (change.number) after = change.number; refresh(); },
    onState: (state) => {
      if (state === "refused") return signOut("The token is no longer valid.");
      showState(state, lastAnswer);
      if (state === "live") refresh();
    },
  });
}

// ---- What is shown, renewed ----

const refresh = (() => {
  let running = null, timer = 0, before = 0;
  async function run() {
    clearTimeout(timer);
    timer = 0;
    if (!token || document.hidden) return later();
    if (running) return;
    const own = running = new AbortController();
    before = performance.now();
    try {
      await load(own.signal);
    } catch (error) {
      if (running === own && error instanceof Refused) {
        if (error.status === 401) { running = null; return signOut("The token is no longer valid."); }
        if (error.status !== 503) showText(shown(error.message, 500));
      }
      // Anything else is the connection, and the stream shows its state.
    }
    if (running === own) { running = null; later(); }
  }
  function later() {
    if (!timer && token) timer = setTimeout(run, Math.max(0, before + REFRESH_MILLIS - performance.now()));
  }
  const ask = () => { if (!running) later(); };
  ask.again = () => { running?.abort(); running = null; run(); };
  ask.stop = () => { running?.abort(); running = null; clearTimeout(timer); timer = 0; };
  return ask;
})();

async function load(signal) {
  const from = place;
  const loads = { tenants: loadTenants, tenant: loadTenant, callers: loadCallers, endpoints: loadEndpoints, config: loadConfig, explain: loadExplain };
  await Promise.all([
    get("/api/attention", signal).then((answer) => { if (token) showAttention(answer.attention); }),
    loads[from.kind](signal, () => from === place && token),
  ]);
}

function showAttention(items) {
  const place = byId("attention");
  place.hidden = false;
  const text = JSON.stringify(items);
  if (place.dataset.shown === text) return;
  const errors = items.filter((item) => item.severity === "error").length;
  if (place.dataset.errors !== undefined && errors > Number(place.dataset.errors)) announce(errors + " errors need attention");
  place.dataset.shown = text;
  place.dataset.errors = errors;
  document.title = (items.length ? "(" + items.length + ") " : "") + "Gateway";
  if (items.length === 0) return place.replaceChildren(el("p", { class: "well good" }, "Nothing needs attention."));
  const age = (since) => since ? span((Date.now() - Date.parse(since)) / 1000) : "";
  place.replaceChildren(el("ul", {}, ...items.map((item) => el("li", { class: item.severity },
    el("b", {}, item.rule.replaceAll("_", " ")), el("span", {}, shown(item.message, 600)),
    el("span", { class: "who" }, ...item.tracers.slice(0, 5).flatMap((selector) => [selectorLink(selector), " "]),
      item.count > 5 ? "and " + number(item.count - Math.min(5, item.tracers.length)) + " more" : ""),
    item.since && el("span", { class: "muted", title: dateTime(Date.parse(item.since)) }, "for " + age(item.since))))));
}

const selectorLink = (selector) => el("a", { href: tenantHash(selector) }, el("bdi", {}, shown(selector, 120)));
const tenantHash = (selector) => "#/tenant/" + encodeURIComponent(selector);

// ---- Tenants ----

const rates = new Map();
/** Accepted spans per second, between two answers. */
function rateOf(row) {
  const now = performance.now(), accepted = row.spans.accepted;
  const last = rates.get(row.selector);
  if (!last || accepted < last.accepted) {
    if (rates.size > 5000) rates.clear();
    rates.set(row.selector, { now, accepted, rate: null });
    return null;
  }
  if (now - last.now > 900) {
    last.rate = (accepted - last.accepted) * 1000 / (now - last.now);
    last.now = now;
    last.accepted = accepted;
  }
  return last.rate;
}

const dropped = (ledger) => Object.values(ledger.dropped).reduce((all, n) => all + n, 0);
const reasons = (ledger) => Object.entries(ledger.dropped).sort((one, other) => other[1] - one[1]);
const waiting = (row) => [row.oldest_queued, row.oldest_spooled].filter(Boolean).map((time) => Date.parse(time)).sort((a, b) => a - b)[0];
const secondsSince = (time) => (Date.now() - (typeof time === "number" ? time : Date.parse(time))) / 1000;
function breaker(row) {
  const states = Object.values(row.breakers).map((one) => one.state);
  return states.some((state) => typeof state === "object") ? "open" : states.includes("half_open") ? "half open" : "closed";
}
const lastError = (row) => row.key?.error ?? (row.errors && !row.errors.over ? row.last_error : null);

const tenantRows = new Rows(byId("tenant-list"), {
  label: "Tenants",
  key: (row) => row.selector,
  open: (row) => { location.hash = tenantHash(row.selector); },
  sort: { name: "selector", descending: false },
  onSort: (sort) => {
    order = sort.name;
    // Orders by a number begin with the largest, and the oldest.
    sort.descending = sort.name !== "selector";
    tenantRows.showSort();
    visited = [];
    refresh.again();
  },
  columns: [
    { title: "tenant", name: "selector", draw: (cell, row) => {
      if (!cell.firstChild) cell.append(el("bdi"), el("span"));
      setText(cell.firstChild, shown(row.selector, 120));
      setCell(cell.lastChild, row.paused ? " paused" : row.erased ? " erased" : "", "warn");
      cell.title = shown(row.selector, 300);
    } },
    { title: "spans/s", class: "n", width: "68px", draw: (cell, row) => setCell(cell, row.rate == null ? "" : row.rate > 0 && row.rate < 1 ? row.rate.toFixed(1) : number(Math.round(row.rate))) },
    { title: "queued", name: "queued_bytes", class: "n middle", width: "84px", draw: (cell, row) => setCell(cell, row.queued_bytes ? bytes(row.queued_bytes) : "") },
    { title: "on disk", class: "n wide", width: "80px", draw: (cell, row) => setCell(cell, row.spooled_bytes ? bytes(row.spooled_bytes) : "") },
    { title: "delivered", name: "delivered", class: "n middle", width: "92px", draw: (cell, row) => setCell(cell, number(row.spans.delivered)) },
    { title: "dropped", name: "dropped", class: "n", width: "86px", draw: (cell, row) => {
      const lost = dropped(row.spans);
      setCell(cell, lost ? number(lost) : "", "bad");
      cell.title = reasons(row.spans).map(([reason, n]) => reason + " " + number(n)).join(", ");
    } },
    { title: "oldest", name: "oldest_queued", class: "n", width: "74px", draw: (cell, row) => {
      const oldest = waiting(row);
      const age = oldest === undefined ? 0 : secondsSince(oldest);
      setCell(cell, oldest === undefined ? "" : span(age), age > 300 ? "bad" : age > 30 ? "warn" : "");
    } },
    { title: "breaker", class: "wide", width: "82px", draw: (cell, row) => { const state = breaker(row); setCell(cell, state, state === "closed" ? "muted" : "bad"); } },
    { title: "key", class: "wide mono", width: "118px", draw: (cell, row) => {
      setCell(cell, row.key?.fingerprint ?? "", row.key?.error ? "bad" : "");
      cell.title = row.key ? "since " + dateTime(Date.parse(row.key.since)) : "";
    } },
    { title: "key age", class: "n wide", width: "80px", draw: (cell, row) => setCell(cell, row.key ? span(secondsSince(row.key.since)) : "", "muted") },
    { title: "last error", class: "wide", width: "24%", draw: (cell, row) => {
      const error = lastError(row);
      setCell(cell, error ? shown(error, 200) : "", "bad");
      cell.title = error ? shown(error, 1000) : "";
    } },
  ],
  decorate: (line, row) => line.classList.toggle("alert", Boolean(lastError(row)) || breaker(row) !== "closed"),
});

async function loadTenants(signal, isCurrent) {
  const query = new URLSearchParams({ order, only: byId("only").value, limit: PAGE_ROWS });
  const part = byId("filter").value.trim();
  if (part) query.set("contains", part);
  if (visited.length) query.set("after", visited.at(-1));
  const answer = await get("/api/tenants?" + query, signal);
  if (!isCurrent()) return;
  for (const row of answer.tenants) row.rate = rateOf(row);
  byId("tenants").hidden = false;
  byId("other").hidden = true;
  tenantRows.set(answer.tenants);
  const from = visited.length * PAGE_ROWS;
  setText(byId("found"), answer.tenants.length ? number(from + 1) + "–" + number(from + answer.tenants.length) + " of " + number(answer.found) : number(answer.found) + " tenants");
  byId("more").hidden = !answer.next;
  byId("more").dataset.next = answer.next ?? "";
  byId("first").hidden = visited.length === 0;
  byId("tenant-list").hidden = answer.tenants.length === 0;
  const none = byId("no-tenant");
  none.hidden = answer.tenants.length > 0;
  setText(none, part || byId("only").value !== "all" ? "No tenant matches." : "No tenant has sent data since the start.");
}

byId("more").addEventListener("click", () => { visited.push(byId("more").dataset.next); tenantRows.scroller.scrollTop = 0; refresh.again(); });
byId("first").addEventListener("click", () => { visited = []; refresh.again(); });
byId("only").addEventListener("change", () => { visited = []; refresh.again(); });
let typing = 0;
byId("filter").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => { visited = []; refresh.again(); }, 150);
});

// ---- One tenant ----

/** Whether the gateway keeps refused batches, as far as this page knows. */
let keepsRefused = true;

async function loadTenant(signal, isCurrent) {
  const { selector } = place, path = "/api/tenants/" + encodeURIComponent(selector);
  const [row, refused, history] = await Promise.all([
    get(path, signal),
    keepsRefused ? get(path + "/refused?body=false", signal).catch((error) => {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 409) keepsRefused = false;
      return null;
    }) : null,
    past.selector === selector && performance.now() - past.at < HISTORY_REFRESH_MILLIS ? past.answer : get(path + "/history", signal),
  ]);
  if (!isCurrent()) return;
  if (history !== past.answer) past = { selector, at: performance.now(), answer: history };
  showTenant(row, refused?.refused ?? [], history);
}

/** The ledger as an equation. */
function ledger(title, counts) {
  const parts = [["delivered", counts.delivered], ["queued", counts.queued], ["in flight", counts.in_flight], ["on disk", counts.spooled], ["in the stream", counts.streamed]]
    .filter(([name, n]) => n || name === "delivered" || name === "queued" || name === "in flight");
  const lost = dropped(counts);
  const term = (name, n, kind) => el("div", { class: kind ?? null }, el("b", {}, number(n)), el("small", {}, name));
  const sum = parts.reduce((all, [, n]) => all + n, 0) + lost;
  return el("section", { "aria-label": title },
    el("h3", {}, title),
    el("div", { class: "ledger" }, term("accepted", counts.accepted), el("div", { class: "op" }, sum === counts.accepted ? "=" : "≠"),
      ...parts.flatMap(([name, n], index) => [index ? el("div", { class: "op" }, "+") : null, term(name, n)]),
      el("div", { class: "op" }, "+"), term("dropped", lost, lost ? "lost" : null)),
    lost > 0 && el("p", {}, "Dropped: ", ...reasons(counts).map(([reason, n]) => el("span", { class: "tag bad" }, reason.replaceAll("_", " ") + " " + number(n)))),
    sum !== counts.accepted && el("p", { class: "bad" }, "The ledger does not add up: the difference is " + number(counts.accepted - sum) + "."));
}

function historyOf({ minutes, ended_seconds: ended, complete }) {
  const title = el("h3", {}, "The last hour");
  if (!complete) return el("section", {}, title, el("p", { class: "muted" }, "Not kept for this tenant, because too many send data."));
  if (minutes.length === 0) return el("section", {}, title, el("p", { class: "muted" }, "Begins with the first minute of the gateway."));
  const svg = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const sum = (field) => minutes.reduce((all, minute) => all + minute[field], 0);
  const most = Math.max(...minutes.map((minute) => minute.delivered + minute.dropped)), scale = 60 / Math.max(1, most);
  const text = `${number(sum("delivered"))} delivered, ${number(sum("dropped"))} dropped; most in a minute: ${number(most)}`;
  const picture = svg("svg", { class: "history", viewBox: `0 0 ${HISTORY_MINUTES * 4} 64`, preserveAspectRatio: "none", role: "img", "aria-label": text });
  minutes.forEach((minute, index) => {
    const x = (HISTORY_MINUTES - minutes.length + index) * 4, height = minute.delivered * scale, above = minute.dropped * scale;
    const bar = svg("g", {}), hint = svg("title", {});
    hint.textContent = `${minutes.length - index} min ago: ${number(minute.delivered)} delivered, ${number(minute.dropped)} dropped, ${number(minute.waiting)} waiting`;
    bar.append(hint, svg("rect", { x, y: 64 - height, width: 3, height }), svg("rect", { class: "lost", x, y: 64 - height - above, width: 3, height: above }));
    picture.append(bar);
  });
  return el("section", {}, title, picture, el("p", { class: "muted" }, `${span(minutes.length * 60)}, until ${span(ended)} ago: ${text}.`));
}

function showTenant(row, refused, history) {
  const error = lastError(row), oldest = waiting(row);
  const time = (text) => text ? dateTime(Date.parse(text)) : null;
  const state = (one) => typeof one.state === "object" ? "open until " + time(one.state.open.until) : one.state.replace("_", " ") + (one.failures ? ", " + one.failures + " failures in a row" : "");
  showOther([
    el("p", {}, el("a", { href: "#/" }, "‹ Tenants")),
    el("h2", {}, el("bdi", {}, shown(row.selector, 300)), " ", row.paused && el("span", { class: "tag warn" }, "paused"), row.erased && el("span", { class: "tag bad" }, "erased")),
    error && el("p", { class: "say" }, shown(error, 2000)),
    ledger("Spans", row.spans),
    row.session_events.accepted > 0 && ledger("Session events", row.session_events),
    historyOf(history),
    el("div", { class: "columns" },
      table("Sending", {
        endpoint: row.destination?.endpoint, protocol: row.destination && row.destination.protocol + ", " + row.destination.compression,
        "last delivery": time(row.last_delivery), "oldest queued": oldest === undefined ? "nothing is queued" : span(secondsSince(oldest)),
        "queued in memory": bytes(row.queued_bytes), "on disk": bytes(row.spooled_bytes),
        request: row.oldest_request && row.oldest_request.state.replaceAll("_", " ") + " for " + span(secondsSince(row.oldest_request.since)) + ", attempt " + row.oldest_request.attempt,
        failures: row.errors && number(row.errors.count) + " since " + time(row.errors.since) + (row.errors.over ? ", over" : ""),
        "last error": row.last_error,
      }),
      table("Key", row.key ? {
        fingerprint: row.key.fingerprint, "in use for": span(secondsSince(row.key.since)), since: time(row.key.since), rotations: number(row.key.rotations),
        error: row.key.error, refused: row.key.refused && number(row.key.refused.count) + " times since " + time(row.key.refused.since),
      } : { key: "no tracer" }),
      table("Breakers", { spans: state(row.breakers.spans), "session events": state(row.breakers.session_events), endpoint: state(row.breakers.endpoint) }),
      row.quota.length > 0 && table("Quota", Object.fromEntries(row.quota.map((one) => [one.setting, number(one.used) + " of " + number(one.limit)]))),
      row.copies.length > 0 && table("Copies", Object.fromEntries(row.copies.map((copy) => [copy.selector, copy.works ? "works" : "no tracer"])))),
    refused.length > 0 && el("h3", {}, "Refused batches, in the receiver's words"),
    ...refused.slice(0, 20).map((batch) => el("pre", {}, shownLines(JSON.stringify(batch, null, 1), 4000))),
  ]);
}

function table(title, values) {
  const rows = Object.entries(values).filter(([, value]) => value != null && value !== false)
    .map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, shown(name, 200)), el("td", {}, shownLines(value, 4000))));
  return el("section", {}, el("h3", {}, title), el("table", { class: "pairs" }, el("tbody", {}, ...rows)));
}

/** Replaces the details, but only if their text differs, so that a selection and the focus stay. */
function showOther(parts) {
  const other = byId("other");
  byId("tenants").hidden = true;
  other.hidden = false;
  const content = el("div", {}, ...parts.filter(Boolean));
  const text = content.textContent;
  if (other.dataset.shown === text && other.childElementCount) return;
  other.dataset.shown = text;
  const hadFocus = other.contains(document.activeElement) && document.activeElement.getAttribute("href");
  const top = other.scrollTop;
  other.replaceChildren(content);
  other.scrollTop = top;
  if (hadFocus) other.querySelector(`[href="${CSS.escape(hadFocus)}"]`)?.focus({ preventScroll: true });
}
const showText = (text) => showOther([el("p", {}, el("a", { href: "#/" }, "‹ Tenants")), el("p", { class: "say" }, text)]);

// ---- Callers, endpoints, configuration, explain ----

const list = (columns, rows) => el("div", { class: "overflow" }, el("table", { class: "plain" },
  el("thead", {}, el("tr", {}, ...columns.map((column) => el("th", { scope: "col" }, column)))),
  el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((value) => el("td", {}, value instanceof Node ? value : shown(value, 300))))))));
const counts = (values) => Object.entries(values ?? {}).filter(([, n]) => n).map(([name, n]) => name.replaceAll("_", " ") + " " + (typeof n === "number" ? number(n) : JSON.stringify(n))).join(", ");

async function loadCallers(signal, isCurrent) {
  const answer = await get("/api/callers?limit=500", signal);
  if (!isCurrent()) return;
  const text = (value) => typeof value === "object" && value ? counts(value) : number(value);
  showOther([
    el("h2", {}, "Callers"),
    list(["caller", "addresses", "requests", "spans", "refused"], answer.callers.map((one) => [
      one.caller, Object.entries(one.addresses).map(([name, value]) => name + " " + value).join(", "), text(one.requests), text(one.spans), counts(one.refused)])),
    el("p", { class: "muted" }, number(answer.found) + " callers" + (answer.next ? ", the first 500 are shown" : "") + ". Without a known credential: " + (counts(answer.unidentified) || "none") + "."),
  ]);
}

async function loadEndpoints(signal, isCurrent) {
  const answer = await get("/api/endpoints?limit=500", signal);
  if (!isCurrent()) return;
  showOther([
    el("h2", {}, "Endpoints"),
    list(["endpoint", "breaker", "tracers", "failing", "queued", "delivered", "dropped"], answer.endpoints.map((one) => [
      one.endpoint, typeof one.breaker.state === "object" ? el("span", { class: "bad" }, "open") : one.breaker.state.replace("_", " "), number(one.tracers),
      one.failing ? el("span", { class: "bad" }, number(one.failing)) : "0", bytes(one.queued_bytes), number(one.spans.delivered), number(dropped(one.spans))])),
    answer.endpoints.length === 0 && el("p", { class: "muted" }, "No tracer uses an endpoint yet."),
  ]);
}

async function loadConfig(signal, isCurrent) {
  const answer = await get("/api/config", signal);
  if (!isCurrent()) return;
  showOther([
    el("h2", {}, "Configuration"),
    answer.configuration.error && el("p", { class: "say" }, "The files differ from what runs: " + shownLines(answer.configuration.error, 4000)),
    ...answer.faults.slice(0, 100).map((fault) => el("p", { class: "say" }, [fault.file, fault.key, fault.message].filter(Boolean).map((part) => shown(part, 500)).join(": "))),
    el("div", { class: "columns" },
      table("State", { version: answer.version, source: answer.source, reloads: answer.configuration.reloads, "last reload": answer.configuration.last_reload, "watches files": answer.configuration.watched ? "yes" : "no" }),
      table("Tables", answer.tables),
      table("Gateway", Object.fromEntries(Object.entries(answer.gateway).map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : value]))),
      table("Settings", answer.settings)),
  ]);
}

let explained = "";
async function loadExplain(signal, isCurrent) {
  const other = byId("other");
  if (!byId("trace-id") || other.hidden || byId("tenants").hidden === false) {
    other.dataset.shown = "explain";
    byId("tenants").hidden = true;
    other.hidden = false;
    other.replaceChildren(el("div", {}, el("h2", {}, "Explain a trace"),
      el("form", { class: "tools", onsubmit: (event) => { event.preventDefault(); explained = byId("trace-id").value.trim().toLowerCase(); refresh.again(); } },
        el("label", { for: "trace-id" }, "Trace id"), el("input", { id: "trace-id", type: "search", size: 34, maxlength: 32, spellcheck: "false", autocomplete: "off", value: explained }),
        el("button", { type: "submit" }, "Explain")), el("div", { id: "explained", role: "status" })));
  }
  if (!explained) return;
  let parts;
  try {
    const answer = await get("/api/explain?trace_id=" + encodeURIComponent(explained), signal);
    parts = answer.seen ? answer.selectors.map((one) => el("section", {}, el("h3", {}, shown(one.selector ?? "", 200)), el("pre", {}, shownLines(JSON.stringify(one, null, 1), 8000))))
      : [el("p", {}, "The gateway saw no span of this trace in the last " + shown(answer.kept, 20) + ", or has forgotten it.")];
  } catch (error) {
    if (!(error instanceof Refused) || error.status === 401) throw error;
    parts = [el("p", { class: "say" }, shown(error.message, 500))];
  }
  const result = byId("explained");
  if (isCurrent() && result && result.textContent !== parts.map((part) => part.textContent).join("")) result.replaceChildren(...parts);
}

// ---- Place ----

function readPlace() {
  const path = location.hash.replace(/^#\/?/, "");
  if (path.startsWith("tenant/")) {
    try { return { kind: "tenant", selector: decodeURIComponent(path.slice(7)) }; } catch { return { kind: "tenants" }; }
  }
  return { kind: ["callers", "endpoints", "config", "explain"].includes(path) ? path : "tenants" };
}

function go() {
  place = readPlace();
  for (const link of byId("places").children) {
    const kind = link.getAttribute("href").slice(2) || "tenants";
    const isCurrent = kind === place.kind || (kind === "tenants" && place.kind === "tenant");
    if (isCurrent) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  if (token) refresh.again();
}
window.addEventListener("hashchange", go);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && token && !event.target.closest("input")) { event.preventDefault(); byId("filter").focus(); }
  if (event.key === "Escape" && place.kind === "tenant" && !event.target.closest("input")) location.hash = "#/";
});
themeButton(byId("theme"));
showState("refused");
go();
byId("token").focus();
