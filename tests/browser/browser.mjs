// Starts the browser, and sends spans.
import assert from "node:assert/strict";
import net from "node:net";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { chromium } from "playwright-core";

/** Longest time that a condition may take. */
const PATIENCE = 20000;

/** Opens pages in a new browser. Ends with an error if a page wrote an error to its console. */
export async function withBrowser(work) {
  const profile = mkdtempSync(join(tmpdir(), "browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    viewport: { width: 1440, height: 900 },
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
  context.setDefaultTimeout(PATIENCE);
  const errors = [];
  const open = async (url, ...allowed) => {
    const page = await context.newPage();
    const isAllowed = (text) => allowed.some((pattern) => pattern.test(text));
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" && !isAllowed(message.text())) errors.push(message.text());
    });
    page.on("request", (request) => {
      if (new URL(request.url()).origin !== new URL(url).origin) errors.push("request to " + request.url());
    });
    await page.goto(url);
    return page;
  };
  try {
    await work(open);
    assert.deepEqual(errors, []);
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}

/** Waits until a function returns true, and shows the last value otherwise. */
export async function until(what, condition) {
  const end = Date.now() + PATIENCE;
  let last;
  for (;;) {
    try {
      last = await condition();
      if (last === true) return;
    } catch (error) {
      last = error;
    }
    assert.ok(Date.now() < end, `${what}: ${last}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** A connection of the page that can be cut: `cut()` closes all connections and refuses new ones. */
export async function cuttable(url) {
  const { hostname, port } = new URL(url);
  const sockets = new Set();
  let isCut = false;
  const server = net.createServer((client) => {
    if (isCut) return client.destroy();
    const up = net.connect(Number(port), hostname);
    for (const [one, other] of [[client, up], [up, client]]) {
      sockets.add(one);
      one.on("error", () => {});
      one.on("close", () => { sockets.delete(one); other.destroy(); });
      one.pipe(other);
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    cut() { isCut = true; for (const socket of sockets) socket.destroy(); },
    mend() { isCut = false; },
    close() { server.close(); for (const socket of sockets) socket.destroy(); },
  };
}

export const hex = (bytes) => randomBytes(bytes).toString("hex");
const value = (value) => (typeof value === "number" ? { intValue: String(value) } : { stringValue: value });
export const attributes = (object) => Object.entries(object).map(([key, of]) => ({ key, value: value(of) }));

/** A span in OTLP/JSON. `start` and `duration` are in milliseconds. */
export function span({ name, trace = hex(16), id = hex(8), parent, start = 0, duration = 10, error, events = [], ...rest }) {
  const nanos = (millis) => (BigInt(1767225600000) * 1000000n + BigInt(Math.round(millis * 1e6))).toString();
  return {
    traceId: trace, spanId: id, parentSpanId: parent, name, kind: 1,
    startTimeUnixNano: nanos(start), endTimeUnixNano: nanos(start + duration),
    status: error === undefined ? {} : { code: 2, message: error },
    attributes: attributes(rest.attributes ?? {}),
    events: events.map((event) => ({ name: event.name, timeUnixNano: nanos(event.at ?? start), attributes: attributes(event.attributes ?? {}) })),
  };
}

/** Sends spans with a key. */
export async function send(url, key, spans, resource = {}) {
  const body = { resourceSpans: [{ resource: { attributes: attributes(resource) }, scopeSpans: [{ spans }] }] };
  const response = await fetch(new URL("v1/traces", url), {
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer " + key },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 200, await response.text());
}

/** Nothing is wider than the window. */
export async function fits(page) {
  const [width, room] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(width <= room, `the page is ${width} wide in ${room}`);
}
