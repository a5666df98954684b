import {
  Rows, announce, byId, clock, compare, dateTime, duration, el, follow, number, onFrame, setCell, setText, showState,
  shown, themeButton,
} from "/page/shared.js";
import { folded, pairs } from "/page/details.js";
import { closeSpan, setTrace, showTrace, trace, traceName } from "/page/waterfall.js";

/** Shortest time between two requests for the same list, and for a search. */
const LIST_MILLIS = 60, SEARCH_MILLIS = 1000;
const PAGE_ROWS = 100;

// Projects as the stream reports them.
let projects = new Map();
let lastMessage = 0, rateFrom = null, rate = 0, refusedWithoutProject = 0;
// What the main pane shows: `kind` is all, foreign, traces, sessions, session or trace.
let place = { kind: "all" };
let newestOf = [];

const fold = (text) => shown(text, 120);
const nameOf = (project) => project.name ?? project.fingerprint;

// ---- Projects ----

const projectRows = new Rows(byId("projects"), {
  label: "Projects",
  key: (row) => row.id,
  open: (row) => { location.hash = "#/p/" + row.fingerprint; },
  sort: null,
  onSort: () => drawProjects(true),
  columns: [
    { title: "project", name: "name", draw: (cell, row) => {
      if (!cell.firstChild) cell.append(el("bdi"));
      setText(cell.firstChild, fold(nameOf(row)));
      cell.title = shown(nameOf(row)) + (row.name ? ", key " + row.fingerprint : " (project without a name)");
      cell.classList.toggle("mono", !row.name);
    } },
    { title: "traces", name: "traces", class: "n", width: "66px", descending: true, draw: (cell, row) => setCell(cell, number(row.traces)) },
    { title: "spans", name: "spans", class: "n", width: "66px", descending: true, draw: (cell, row) => setCell(cell, number(row.spans)) },
    { title: "errors", name: "errors", class: "n", width: "62px", descending: true, draw: (cell, row) => setCell(cell, number(row.errors), row.errors ? "bad" : "muted") },
    { title: "foreign", name: "foreign", class: "n", width: "70px", descending: true, draw: (cell, row) => setCell(cell, number(row.foreign), row.foreign ? "bad" : "muted") },
  ],
  decorate: (line, row) => {
    line.classList.toggle("alert", row.foreign > 0);
    line.setAttribute("aria-selected", place.project === row.fingerprint);
  },
});

let order = [];
const drawProjects = onFrame(() => drawProjectsNow());
function drawProjectsNow() {
  const wanted = byId("project-filter").value.trim().toLowerCase();
  let rows = [...projects.values()];
  if (wanted) rows = rows.filter((row) => row.search.includes(wanted));
  const { name, descending } = projectRows.sort ?? { name: "id", descending: false };
  const value = name === "name" ? (row) => row.search : (row) => row[name];
  const sign = descending ? -1 : 1;
  // Foreign data comes first, however the list is sorted.
  const byOrder = (one, other) => (other.foreign > 0) - (one.foreign > 0) || sign * compare(value(one), value(other)) || one.id - other.id;
  if (projectRows.scroller.matches(":hover") && drawProjectsNow.sort === name + descending + wanted) {
    // Rows do not move under the pointer.
    const places = new Map(order.map((id, index) => [id, index]));
    rows.sort((one, other) => (places.get(one.id) ?? Infinity) - (places.get(other.id) ?? Infinity) || one.id - other.id);
  } else {
    rows.sort(byOrder);
  }
  drawProjectsNow.sort = name + descending + wanted;
  order = rows.map((row) => row.id);
  projectRows.set(rows);
}

const drawTotals = onFrame(() => {
  const totals = { spans: 0, errors: 0, foreign: 0, refused: refusedWithoutProject, dropped: 0 };
  for (const row of projects.values()) for (const name in totals) totals[name] += row[name] ?? 0;
  setText(byId("total-projects"), number(projects.size));
  setText(byId("total-spans"), number(totals.spans));
  setText(byId("rate"), number(Math.round(rate)));
  setCell(byId("total-errors"), number(totals.errors), totals.errors ? "bad" : "");
  setCell(byId("total-refused"), number(totals.refused), totals.refused ? "bad" : "");
  setCell(byId("total-dropped"), number(totals.dropped), totals.dropped ? "warn" : "");
  const foreign = byId("foreign");
  setText(foreign, number(totals.foreign));
  if (foreign.dataset.on !== String(totals.foreign > 0)) {
    foreign.dataset.on = String(totals.foreign > 0);
    if (totals.foreign) announce("Foreign data: " + totals.foreign + " spans or sessions in a project of another owner");
  }
  document.title = (totals.foreign ? "(" + totals.foreign + " foreign) " : "") + "Local collector";
});

function onLine(line) {
  if (line.first) { projects = new Map(); rateFrom = null; }
  for (const row of line.projects) {
    row.search = ((row.name ?? "") + " " + row.fingerprint).toLowerCase();
    projects.set(row.id, row);
  }
  lastMessage = line.now;
  refusedWithoutProject = line.requests_without_key + line.refused_projects;
  if (!line.more) countRate(line.now);
  drawProjects();
  drawTotals();
  if (line.first) refresh.again();
  else if (line.projects.some((row) => place.project === undefined || row.fingerprint === place.project)) refresh();
}

function countRate(now) {
  let received = 0;
  for (const row of projects.values()) received += row.received;
  if (!rateFrom || received < rateFrom.received) rateFrom = { now, received };
  else if (now - rateFrom.now >= 1000) {
    rate = (received - rateFrom.received) * 1000 / (now - rateFrom.now);
    rateFrom = { now, received };
  }
}
setInterval(() => {
  // No line comes while nothing changes.
  if (rateFrom && Date.now() - lastMessage > 2500 && rate) { rate = 0; rateFrom = null; drawTotals(); }
}, 1000);

follow("/api/live", { onLine, onState: (state) => showState(state, lastMessage) });

// ---- Requests of the main pane ----

class Refused extends Error { name = "Refused"; }

async function get(path, signal) {
  const response = await fetch(path, { signal, cache: "no-store", credentials: "omit" });
  const answer = await response.json();
  if (!response.ok) throw new Refused(answer.error ?? answer.message ?? "status " + response.status);
  return answer;
}

/** Runs `load` when something changed: one at a time, and not too often. */
const refresh = (() => {
  let running = null, isStale = false, timer = 0, before = 0;
  async function run() {
    timer = 0;
    if (running) { isStale = true; return; }
    const own = running = new AbortController();
    isStale = false;
    before = performance.now();
    try {
      await load(own.signal);
    } catch (error) {
      if (error instanceof Refused) showRefusal(error.message);
      // Anything else is the connection, and the stream shows its state.
    }
    if (running === own) {
      running = null;
      if (isStale) ask();
    }
  }
  function ask() {
    if (timer) return;
    if (running) { isStale = true; return; }
    const least = byId("search").value || place.kind === "sessions" ? SEARCH_MILLIS : LIST_MILLIS;
    timer = setTimeout(run, Math.max(0, before + least - performance.now()));
  }
  /** Forgets what runs: the place has changed. */
  ask.again = () => {
    clearTimeout(timer);
    running?.abort();
    running = null;
    run();
  };
  return ask;
})();

function load(signal) {
  if (place.kind === "trace") return loadTrace(signal);
  if (place.kind === "sessions") return loadSessions(signal);
  return loadTraces(signal);
}

function showRefusal(message) {
  byId("list").hidden = true;
  byId("trace").hidden = true;
  byId("lists").hidden = false;
  const empty = byId("empty");
  empty.hidden = false;
  empty.replaceChildren(el("p", {}, shown(message, 300)));
}

// ---- Lists ----

const list = byId("list");
const traceHash = (row) => "#/p/" + row.project + "/t/" + row.trace_id;
const traceRows = new Rows(list, {
  label: "Traces",
  key: (row) => row.project + row.trace_id,
  open: (row) => { location.hash = traceHash(row); },
  columns: [
    { title: "trace", draw: (cell, row) => {
      if (!cell.firstChild) cell.append(el("bdi"), el("span"));
      setText(cell.firstChild, fold(row.name) || "(no name)");
      const note = row.foreign ? " foreign " + row.foreign : row.has_root ? "" : " no root";
      setCell(cell.lastChild, note, row.foreign ? "bad" : "muted");
      cell.title = shown(row.name, 300);
    } },
    { title: "project", class: "wide of-project", width: "15%", draw: (cell, row) => setCell(cell, fold(row.project_name ?? row.project)) },
    { title: "service", class: "wide", width: "12%", draw: (cell, row) => setCell(cell, row.services.map(fold).join(", ")) },
    { title: "model", class: "wide", width: "12%", draw: (cell, row) => {
      setCell(cell, row.models.map(fold).join(", "));
      cell.title = row.tokens ? number(row.tokens) + " tokens" : "";
    } },
    { title: "tokens", class: "wide n", width: "72px", draw: (cell, row) => setCell(cell, row.tokens ? number(row.tokens) : "") },
    { title: "errors", class: "n", width: "58px", draw: (cell, row) => setCell(cell, row.errors || "", "bad") },
    { title: "spans", class: "n", width: "58px", draw: (cell, row) => setCell(cell, number(row.spans)) },
    { title: "duration", class: "n", width: "82px", draw: (cell, row) => setCell(cell, duration(row.duration_nanos)) },
    { title: "start", class: "wide n", width: "82px", draw: (cell, row) => {
      setCell(cell, clock(row.start_unix_millis), "muted");
      cell.title = dateTime(row.start_unix_millis);
    } },
  ],
  decorate: (line, row) => line.classList.toggle("alert", row.foreign > 0),
});

const sessionRows = new Rows(list, {
  label: "Sessions",
  key: (row) => row.id,
  open: (row) => { location.hash = "#/p/" + place.project + "/session/" + encodeURIComponent(row.id); },
  columns: [
    { title: "session", draw: (cell, row) => {
      if (!cell.firstChild) cell.append(el("bdi"));
      setText(cell.firstChild, fold(row.name ?? row.id));
      cell.title = shown(row.id, 300);
    } },
    { title: "id", class: "wide mono", width: "26%", draw: (cell, row) => setCell(cell, fold(row.id), "muted") },
    { title: "origin", class: "wide", width: "110px", draw: (cell, row) => {
      const words = { started: "started", auto_created: "by a span", enriched_only: "never started" };
      setCell(cell, row.origin ? words[row.origin] : "named by spans", row.origin === "enriched_only" ? "warn" : "muted");
    } },
    { title: "calls", class: "n", width: "58px", draw: (cell, row) => setCell(cell, number(row.calls)) },
    { title: "errors", class: "n", width: "58px", draw: (cell, row) => setCell(cell, row.errors || "", "bad") },
    { title: "spans", class: "n", width: "58px", draw: (cell, row) => setCell(cell, number(row.spans)) },
  ],
});

async function loadTraces(signal) {
  const from = place;
  const query = new URLSearchParams({ limit: PAGE_ROWS });
  if (from.project) query.set("project", from.project);
  if (from.session !== undefined) query.set("session", from.session);
  if (byId("search").value.trim()) query.set("search", byId("search").value.trim());
  if (byId("only-errors").checked) query.set("errors", "");
  if (from.kind === "foreign") query.set("foreign", "");
  if (newestOf.length) query.set("before", newestOf.at(-1));
  const session = from.session === undefined ? null
    : get("/api/projects/" + from.project + "/sessions/" + encodeURIComponent(from.session), signal).catch((error) => {
      if (error instanceof Refused) return null;
      throw error;
    });
  const [answer, details] = await Promise.all([get("/api/traces?" + query, signal), session]);
  if (from !== place) return;
  showList(traceRows, answer.traces, answer.next, "trace");
  showSession(details);
}

async function loadSessions(signal) {
  const from = place;
  const query = new URLSearchParams({ limit: PAGE_ROWS });
  if (byId("search").value.trim()) query.set("search", byId("search").value.trim());
  if (newestOf.length) query.set("before", newestOf.at(-1));
  const answer = await get("/api/projects/" + from.project + "/session-list?" + query, signal);
  if (from !== place) return;
  showList(sessionRows, answer.sessions, answer.next, "session");
  showSession(null);
}

let next = null;
function showList(rows, found, cursor, what) {
  next = cursor;
  byId("lists").hidden = false;
  byId("trace").hidden = true;
  for (const other of [traceRows, sessionRows]) other.scroller.hidden = other !== rows;
  const all = place.kind === "all" || place.kind === "foreign";
  traceRows.table.classList.toggle("one-project", !all);
  rows.set(found);
  rows.drawNow();
  const words = found.length === 1 ? "1 " + what : found.length + " " + what + "s";
  setText(byId("found"), newestOf.length ? words + ", older" : next == null ? words : "newest " + words);
  byId("older").hidden = next == null;
  setText(byId("older"), found.length < PAGE_ROWS ? "Search on" : "Older");
  byId("newer").hidden = newestOf.length === 0;
  const isEmpty = found.length === 0;
  list.hidden = isEmpty;
  const empty = byId("empty");
  empty.hidden = !isEmpty;
  if (isEmpty) showEmpty(empty, what);
}

function showEmpty(empty, what) {
  const isSearch = byId("search").value.trim() || byId("only-errors").checked;
  let content;
  if (place.kind === "foreign") content = [el("p", {}, "No stored trace has foreign data: each span is in the project of the owner that it states.")];
  else if (isSearch || next != null) content = [el("p", {}, "No " + what + " matches" + (next == null ? "." : " in what was searched so far."))];
  else if (what === "session") content = [el("p", {}, "No sessions. A session appears when a client starts one, or when a span has honeyhive.session_id or session.id.")];
  else if ([...projects.values()].some((row) => row.spans > 0) && !place.project) content = [el("p", {}, "Loading…")];
  else {
    content = [
      el("p", {}, "No traces yet. Send some to this address; they appear here as they arrive. The key selects the project, and any key opens one:"),
      el("pre", {}, [
        "OTEL_EXPORTER_OTLP_ENDPOINT=" + location.origin,
        "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20any-key",
      ].join("\n")),
      el("p", {}, "With tracer-registry:"),
      el("pre", {}, "TRACER_REGISTRY__DEFAULTS__ENDPOINT=" + location.origin),
    ];
  }
  // Replaced only if it differs, so that a selection stays.
  const text = content.map((part) => part.textContent).join("");
  if (empty.textContent !== text) empty.replaceChildren(...content);
}

function showSession(details) {
  const box = byId("session-details");
  box.hidden = place.kind !== "session" || !details;
  if (box.hidden) { box.replaceChildren(); delete box.dataset.shown; return; }
  const text = JSON.stringify(details);
  if (box.dataset.shown === text) return;
  box.dataset.shown = text;
  const parts = ["inputs", "outputs", "metadata", "user_properties", "feedback", "metrics", "config"];
  box.replaceChildren(...parts.filter((part) => details[part] && Object.keys(details[part]).length)
    .map((part) => folded(part.replace("_", " "), pairs(details[part]), part === "metadata")));
  box.hidden = box.childElementCount === 0;
}

// ---- One trace ----

async function loadTrace(signal) {
  const from = place, path = "/api/projects/" + from.project + "/traces/" + from.trace;
  const isSame = trace && trace.trace_id === from.trace && trace.project === from.project;
  const answer = await get(path + (isSame ? "?last=" + trace.last : ""), signal);
  if (from !== place) return;
  if (!answer.unchanged) setTrace(answer, (sequence, signal) => get(path + "/spans/" + sequence, signal));
  else if (byId("trace").hidden) showTrace();
  drawCrumbs();
}

// ---- Place ----

function readPlace() {
  const parts = location.hash.replace(/^#\/?/, "").split("/");
  const decoded = (text) => { try { return decodeURIComponent(text ?? ""); } catch { return ""; } };
  if (parts[0] === "foreign") return { kind: "foreign" };
  if (parts[0] !== "p" || !/^[0-9a-f]{12}$/.test(parts[1] ?? "")) return { kind: "all", isStart: parts[0] !== "all" };
  const project = parts[1];
  if (parts[2] === "t" && /^[0-9a-f]{32}$/.test(parts[3] ?? "")) return { kind: "trace", project, trace: parts[3] };
  if (parts[2] === "sessions") return { kind: "sessions", project };
  if (parts[2] === "session") return { kind: "session", project, session: decoded(parts.slice(3).join("/")) };
  return { kind: "traces", project };
}

function drawCrumbs() {
  const project = place.project && [...projects.values()].find((row) => row.fingerprint === place.project);
  const title = project ? nameOf(project) : place.project;
  const parts = [el("a", { href: "#/", class: "back" }, "‹ Projects")];
  const last = (text) => el("span", { "aria-current": "page" }, el("bdi", {}, text));
  const home = "#/p/" + place.project;
  if (place.kind === "all") parts.push(last("All projects"));
  else if (place.kind === "foreign") parts.push(last("Traces with foreign data"));
  else if (place.kind === "traces" || place.kind === "sessions") parts.push(last(fold(title)));
  else parts.push(el("a", { href: home }, el("bdi", {}, fold(title))), el("span", { class: "muted" }, "›"));
  if (place.kind === "session") parts.push(el("a", { href: home + "/sessions" }, "sessions"), el("span", { class: "muted" }, "›"), last(fold(place.session)));
  if (place.kind === "trace") parts.push(last((trace?.trace_id === place.trace && traceName() ? traceName() + "  " : "") + place.trace.slice(0, 8) + "…"));
  if (project && (place.kind === "traces" || place.kind === "sessions")) {
    parts.push(el("span", { class: "muted mono" }, "key " + project.fingerprint + (project.keys > 1 ? " and " + (project.keys - 1) + " more" : "")));
    if (project.foreign) parts.push(el("span", { class: "tag bad" }, number(project.foreign) + " foreign"));
    if (project.refused) parts.push(el("span", { class: "tag bad" }, number(project.refused) + " requests refused"));
    if (project.rejected) parts.push(el("span", { class: "tag bad" }, number(project.rejected) + " spans rejected"));
    if (project.dropped) parts.push(el("span", { class: "tag warn" }, number(project.dropped) + " evicted"));
  }
  const crumbs = byId("crumbs");
  const text = parts.map((part) => part.textContent + (part.getAttribute("href") ?? "")).join("|");
  if (crumbs.dataset.shown !== text) { crumbs.dataset.shown = text; crumbs.replaceChildren(...parts); }
}

function go() {
  place = readPlace();
  newestOf = [];
  document.querySelector(".panes").dataset.pane = place.kind === "all" && place.isStart ? "projects" : "main";
  const hasTabs = Boolean(place.project) && place.kind !== "session";
  byId("tabs").hidden = !hasTabs;
  const isSessions = place.kind === "sessions";
  for (const [tab, isChosen] of [["tab-traces", !isSessions], ["tab-sessions", isSessions]]) {
    byId(tab).setAttribute("aria-selected", isChosen);
    byId(tab).tabIndex = isChosen ? 0 : -1;
  }
  byId("only-errors-label").hidden = isSessions;
  if (place.kind !== "trace") closeSpan();
  byId("all").toggleAttribute("aria-current", place.kind === "all");
  drawCrumbs();
  projectRows.draw();
  refresh.again();
}

byId("tab-traces").addEventListener("click", () => { location.hash = "#/p/" + place.project; });
byId("tab-sessions").addEventListener("click", () => { location.hash = "#/p/" + place.project + "/sessions"; });
byId("tabs").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
  const other = byId(place.kind === "sessions" ? "tab-traces" : "tab-sessions");
  other.click();
  other.focus();
});
byId("older").addEventListener("click", () => { newestOf.push(next); refresh.again(); });
byId("newer").addEventListener("click", () => { newestOf = []; refresh.again(); });
let typing = 0;
byId("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => { newestOf = []; refresh.again(); }, 120);
});
byId("only-errors").addEventListener("change", () => { newestOf = []; refresh.again(); });
byId("project-filter").addEventListener("input", drawProjects);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input")) {
    event.preventDefault();
    (byId("lists").hidden ? byId("project-filter") : byId("search")).focus();
  }
});
setInterval(drawCrumbs, 500);
themeButton(byId("theme"));
window.addEventListener("hashchange", (event) => {
  go();
  if (event.isTrusted && place.kind !== "trace" && document.activeElement === document.body) byId("main").focus({ preventScroll: true });
});
go();
