import { Rows, byId, dateTime, duration, el, number, setText, shown } from "/page/shared.js";
import { spanDetails, tokens } from "/page/details.js";

/** The trace that is shown: as the answer has it, and its spans in the order of a tree. */
export let trace = null;
let tree = null, collapsed = new Set(), selected = null;
let readSpan = null;

const fold = (text) => shown(text, 120);

/** Takes a trace, and how to read one of its spans. If it is another one than before, nothing is open. */
export function setTrace(answer, read) {
  const isSame = trace && trace.trace_id === answer.trace_id && trace.project === answer.project;
  if (!isSame) { collapsed = new Set(); closeSpan(); waterfall.scroller.scrollTop = 0; waterfall.active = null; }
  readSpan = read;
  trace = answer;
  tree = arrange(answer.spans);
  showTrace();
}

/** The name of the first span. */
export const traceName = () => tree?.[0] ? fold(tree[0].name) : "";

/** Spans in the order of a tree. Roots and spans without their parent first; cycles of parents at the end. */
function arrange(spans) {
  const first = new Map();
  for (const row of spans) if (!first.has(row.span_id)) first.set(row.span_id, row);
  const roots = [];
  for (const row of spans) { row.children = []; row.seen = false; }
  for (const row of spans) {
    const parent = row.parent_span_id && first.get(row.parent_span_id);
    row.isOrphan = Boolean(row.parent_span_id && !parent);
    if (parent) parent.children.push(row); else roots.push(row);
  }
  const lines = [];
  const visit = (root) => {
    const open = [{ row: root, level: 1 }];
    while (open.length) {
      const { row, level } = open.pop();
      if (row.seen) continue;
      row.seen = true;
      row.level = level;
      row.at = lines.length;
      lines.push(row);
      for (let child = row.children.length - 1; child >= 0; child--) open.push({ row: row.children[child], level: level + 1 });
    }
  };
  roots.forEach(visit);
  spans.forEach(visit);
  return lines;
}

function visibleLines() {
  const lines = [];
  let hiddenBelow = Infinity;
  for (const row of tree) {
    if (row.level > hiddenBelow) continue;
    hiddenBelow = collapsed.has(row.sequence) ? row.level : Infinity;
    lines.push(row);
  }
  return lines;
}

const hues = new Map();
function hue(service) {
  if (!hues.has(service ?? "")) hues.set(service ?? "", hues.size % 8);
  return "hue" + hues.get(service ?? "");
}

const ticks = el("span", { class: "ticks" });
const waterfall = new Rows(byId("waterfall"), {
  label: "Spans of the trace",
  role: "treegrid",
  key: (row) => row.sequence,
  open: (row) => openSpan(row, true),
  keys: {
    ArrowRight: (row) => {
      if (collapsed.has(row.sequence)) foldSpan(row);
      else if (row.children.length && tree[row.at + 1]?.level > row.level) waterfall.activate(tree[row.at + 1]);
    },
    ArrowLeft: (row) => {
      if (row.children.length && !collapsed.has(row.sequence)) return foldSpan(row);
      for (let at = row.at - 1; at >= 0; at--) if (tree[at].level < row.level) return waterfall.activate(tree[at]);
    },
    " ": (row) => openSpan(row, false),
    Escape: () => closeSpan(),
  },
  columns: [
    { title: "span", width: "42%", draw: (cell, row) => {
      if (!cell.firstChild) {
        const button = el("button", { type: "button", class: "fold", tabindex: "-1" });
        button.addEventListener("click", () => foldSpan(cell.parentNode.row));
        cell.append(el("div", { class: "wf" }, button, el("bdi"), el("span", { class: "tag bad" }), el("span", { class: "tag" })));
      }
      const [button, name, alarm, note] = cell.firstChild.children;
      cell.firstChild.style.paddingInlineStart = Math.min(row.level - 1, 24) * 13 + "px";
      button.style.visibility = row.children.length ? "visible" : "hidden";
      setText(button, collapsed.has(row.sequence) ? "▶" : "▼");
      button.setAttribute("aria-label", collapsed.has(row.sequence) ? "Expand" : "Collapse");
      setText(name, fold(row.name) || "(no name)");
      name.className = row.status === "error" ? "bad" : "";
      setText(alarm, row.foreign ? "foreign: " + fold(row.foreign) : row.parent_in ? "parent in " + fold(row.parent_in) : row.status === "error" ? "error" : "");
      alarm.hidden = !alarm.textContent;
      const llm = row.llm ? [row.llm.model && fold(row.llm.model), tokens(row.llm)].filter(Boolean).join(" · ") : "";
      setText(note, llm || (row.isOrphan && !row.parent_in ? "parent missing" : ""));
      note.hidden = !note.textContent;
      cell.title = shown(row.name, 300) + (row.service ? "\n" + shown(row.service) : "");
    } },
    { title: ticks, draw: (cell, row) => {
      if (!cell.firstChild) cell.append(el("div", { class: "track" }, el("div", {}), el("span", { class: "far" })));
      const [bar, far] = cell.firstChild.children;
      const whole = Math.max(trace.duration_nanos, 1);
      const left = Math.min(100, row.start_nanos / whole * 100);
      const width = Math.min(100 - left, row.duration_nanos / whole * 100);
      bar.className = "time " + hue(row.service) + (row.foreign ? " foreign" : row.status === "error" ? " error" : "");
      bar.style.insetInlineStart = left + "%";
      bar.style.width = width + "%";
      setText(far, duration(row.duration_nanos) + (row.events ? " · " + row.events + (row.events === 1 ? " event" : " events") : ""));
      const end = left + width;
      far.classList.toggle("inside", end >= 75 && left <= 25);
      far.style.insetInlineStart = end < 75 ? end + "%" : "auto";
      far.style.insetInlineEnd = end < 75 ? "auto" : left > 25 ? 100 - left + "%" : 100 - end + "%";
    } },
  ],
  decorate: (line, row) => {
    line.setAttribute("aria-level", row.level);
    if (row.children.length) line.setAttribute("aria-expanded", !collapsed.has(row.sequence));
    else line.removeAttribute("aria-expanded");
    line.setAttribute("aria-selected", selected === row.sequence);
    line.classList.toggle("alert", Boolean(row.foreign || row.parent_in));
    line.setAttribute("aria-label", shown(row.name, 120) + ", " + duration(row.duration_nanos) + (row.status === "error" ? ", error" : "")
      + (row.foreign ? ", foreign: " + shown(row.foreign, 80) : ""));
  },
});

function foldSpan(row) {
  if (!collapsed.delete(row.sequence)) collapsed.add(row.sequence);
  waterfall.set(visibleLines());
  waterfall.activate(row);
}

export function showTrace() {
  byId("lists").hidden = true;
  byId("trace").hidden = false;
  const fact = (name, value, kind) => el("span", {}, el("span", { class: "muted" }, name + " "), el("span", { class: kind ?? null }, value));
  const foreign = trace.spans.filter((row) => row.foreign || row.parent_in).length;
  const services = new Set(trace.spans.map((row) => row.service).filter(Boolean));
  const sum = (part) => trace.spans.reduce((all, row) => all + (row.llm?.[part] ?? 0), 0);
  byId("trace-facts").replaceChildren(
    fact("start", dateTime(trace.start_unix_millis)), fact("duration", duration(trace.duration_nanos)),
    fact("spans", trace.found > trace.spans.length ? "first " + number(trace.spans.length) + " of " + number(trace.found) : number(trace.found)),
    fact("errors", number(trace.errors), trace.errors ? "bad" : ""), fact("foreign", number(foreign), foreign ? "bad" : ""),
    services.size ? fact("services", number(services.size)) : "",
    sum("input_tokens") + sum("output_tokens") ? fact("tokens", number(sum("input_tokens")) + " in, " + number(sum("output_tokens")) + " out") : "",
  );
  ticks.replaceChildren(...[0, .25, .5, .75].map((part) => {
    const tick = el("i", {}, part ? duration(trace.duration_nanos * part) : "0");
    tick.style.insetInlineStart = part * 100 + "%";
    return tick;
  }));
  waterfall.set(visibleLines());
}

let spanRequest = null;
async function openSpan(row, focus) {
  selected = row.sequence;
  waterfall.draw();
  spanRequest?.abort();
  const own = spanRequest = new AbortController();
  try {
    const details = await readSpan(row.sequence, own.signal);
    if (selected === row.sequence) showSpan(spanDetails(details, row, closeSpan), focus);
  } catch (error) {
    if (error.name === "Refused") showSpan([el("p", {}, shown(error.message, 300))], false);
  }
}

function showSpan(parts, focus) {
  const aside = byId("span");
  aside.replaceChildren(...parts);
  aside.hidden = false;
  byId("trace").querySelector(".split").classList.add("open");
  aside.scrollTop = 0;
  if (focus) aside.focus({ preventScroll: true });
}

export function closeSpan() {
  const had = byId("span").contains(document.activeElement);
  selected = null;
  byId("span").hidden = true;
  byId("trace").querySelector(".split").classList.remove("open");
  if (tree) {
    waterfall.draw();
    const at = waterfall.indexOfActive();
    if (had && at >= 0) waterfall.activate(waterfall.rows[at]);
  }
}
byId("span").addEventListener("keydown", (event) => { if (event.key === "Escape") closeSpan(); });
