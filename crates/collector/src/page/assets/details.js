import { duration, el, number, shown, shownLines } from "/page/shared.js";

const PROMPT = /^(gen_ai\.(prompt|input\.messages|system_instructions)|llm\.(prompts?|input_messages)|input\.value|honeyhive_inputs|traceloop\.entity\.input|langfuse\.(observation|trace)\.input)/;
const ANSWER = /^(gen_ai\.(completion|output\.messages)|llm\.(completions?|output_messages)|output\.value|honeyhive_outputs|traceloop\.entity\.output|langfuse\.(observation|trace)\.output)/;

export const tokens = (llm) => llm.input_tokens == null && llm.output_tokens == null ? "" : number(llm.input_tokens ?? 0) + " → " + number(llm.output_tokens ?? 0) + " tokens";

/** The parts of what is shown about one span. */
export function spanDetails(details, row, close) {
  const entries = Object.entries(details.attributes);
  const prompts = entries.filter(([name]) => PROMPT.test(name));
  const answers = entries.filter(([name]) => ANSWER.test(name));
  const plain = entries.filter(([name]) => !PROMPT.test(name) && !ANSWER.test(name));
  const exceptions = details.events.filter((event) => event.name === "exception");
  const others = details.events.filter((event) => event.name !== "exception");
  const facts = {
    duration: duration(details.duration_nanos), "after start": duration(row.start_nanos), kind: String(details.kind), service: row.service,
    session: details.session, "span id": details.span_id, "parent id": details.parent_span_id ?? "none", key: details.key,
  };
  const llm = details.llm;
  return [
    el("button", { type: "button", class: "close", "aria-label": "Close the span", onclick: close }, "✕"),
    el("h2", {}, shown(details.name, 400) || "(no name)"),
    details.foreign && el("p", { class: "say bad" }, "Foreign: it states the owner " + shown(details.foreign) + "."),
    row.parent_in && el("p", { class: "say bad" }, "Its parent is in another project: " + shown(row.parent_in) + "."),
    details.status === "error" && el("p", { class: "say bad" }, "Error" + (details.status_message ? ": " + shown(details.status_message, 2000) : "")),
    ...exceptions.map((event) => exception(event.attributes)),
    llm && el("h3", {}, "Language model"),
    llm && pairs({ model: llm.model ?? "not stated", tokens: tokens(llm) || "not stated" }),
    prompts.length > 0 && folded("Prompt", pairs(Object.fromEntries(prompts))),
    answers.length > 0 && folded("Answer", pairs(Object.fromEntries(answers))),
    el("h3", {}, "Span"), pairs(Object.fromEntries(Object.entries(facts).filter(([, value]) => value != null))),
    plain.length > 0 && el("h3", {}, "Attributes"), plain.length > 0 && pairs(Object.fromEntries(plain)),
    others.length > 0 && el("h3", {}, "Events"),
    ...others.slice(0, 200).map((event) => folded(shown(event.name, 120) + " at " + offset(event.offset_nanos), pairs(event.attributes), others.length <= 3)),
    details.links.length > 0 && el("h3", {}, "Links"),
    ...details.links.slice(0, 200).map((link) => folded(shown(link.trace_id, 40), pairs({ "span id": link.span_id, ...link.attributes }))),
    el("h3", {}, "Origin"), folded("Resource", pairs(details.resource)),
    folded("Scope", pairs({ name: details.scope.name, version: details.scope.version, ...details.scope.attributes })),
    Object.values(details.dropped).some(Boolean) && el("p", { class: "warn" }, "The sender dropped " + Object.entries(details.dropped).filter(([, n]) => n).map(([name, n]) => n + " " + name).join(", ") + "."),
  ].filter(Boolean);
}

const offset = (nanos) => nanos < 0 ? "−" + duration(-nanos) : duration(nanos);

function exception(attributes) {
  const text = (name) => attributes[name] === undefined ? "" : String(attributes[name]);
  const title = [text("exception.type"), text("exception.message")].filter(Boolean).join(": ");
  const stack = text("exception.stacktrace");
  return el("div", { class: "say bad" }, el("div", {}, shown(title, 2000) || "exception"),
    stack && folded("Stack", el("pre", {}, shownLines(stack))));
}

export function folded(title, content, isOpen = false) {
  return el("details", { open: isOpen }, el("summary", {}, title), content);
}

export function pairs(values) {
  const rows = Object.entries(values).map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, shown(name, 300)), el("td", {}, valueText(value))));
  return el("table", { class: "pairs" }, el("tbody", {}, ...rows));
}

function valueText(value) {
  if (typeof value === "string") {
    // Clients write messages as JSON in a text.
    if (value.length < 65536 && /^[[{]/.test(value)) {
      try { return shownLines(JSON.stringify(JSON.parse(value), null, 1)); } catch { /* Not JSON: shown as it is. */ }
    }
    return shownLines(value);
  }
  return shownLines(JSON.stringify(value, null, typeof value === "object" ? 1 : 0));
}
