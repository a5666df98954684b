// The page of the local collector in a real browser. COLLECTOR has its URL; its projects acme and
// globex have the keys key-acme and key-globex.
import assert from "node:assert/strict";
import { test } from "node:test";
import { cuttable, fits, hex, send, span, until, withBrowser } from "./browser.mjs";

const COLLECTOR = process.env.COLLECTOR + "/";
const SHOTS = process.env.SCREENSHOTS;

const project = (page, name) => page.locator("#projects tbody tr:not(.spacer)", { hasText: name });
const listed = (page, name) => page.locator("#list tbody tr:not(.spacer)", { hasText: name });
const drawn = (page, name) => page.locator("#waterfall tbody tr:not(.spacer)", { hasText: name });
const openProject = async (page, name) => { await project(page, name).first().click(); await listed(page, "").first().waitFor(); };
const names = (page) => page.locator("#projects tbody tr:not(.spacer) td:first-child").allTextContents();

/** A trace of an agent with 12 spans, one of them a call to a model, one an error. */
export async function agent(key, resource = {}, name = "answer question") {
  const trace = hex(16), root = hex(8), plan = hex(8), retrieve = hex(8), model = hex(8);
  const service = (name) => ({ "service.name": name, ...resource });
  await send(COLLECTOR, key, [
    span({ name, trace, id: root, duration: 1240, attributes: { "session.id": "chat-17", "user.plan": "enterprise", "http.route": "/ask" } }),
    span({ name: "plan", trace, id: plan, parent: root, start: 14, duration: 130 }),
    span({ name: "retrieve documents", trace, id: retrieve, parent: root, start: 160, duration: 340, attributes: { "retrieval.k": 8 } }),
    span({ name: "chat gpt-4o", trace, id: model, parent: root, start: 520, duration: 640, attributes: {
      "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 1840, "gen_ai.usage.output_tokens": 212, "gen_ai.request.temperature": "0.2",
      "gen_ai.input.messages": JSON.stringify([{ role: "user", content: "Which invoices are overdue?" }]),
      "gen_ai.output.messages": JSON.stringify([{ role: "assistant", content: "Three invoices are overdue." }]),
    } }),
  ], service("assistant"));
  await send(COLLECTOR, key, [
    ...[0, 1, 2, 3, 4].map((n) => span({ name: "read shard " + n, trace, parent: retrieve, start: 170 + n * 30, duration: 60 + n * 40 })),
    span({ name: "rerank", trace, parent: retrieve, start: 420, duration: 70, error: "model not loaded", events: [
      { name: "exception", at: 480, attributes: { "exception.type": "RankError", "exception.message": "model not loaded", "exception.stacktrace": "RankError: model not loaded\n  at rerank (rank.py:41)\n  at retrieve (search.py:17)" } },
      { name: "fallback", at: 485, attributes: { order: "by date" } },
    ] }),
  ], service("search"));
  await send(COLLECTOR, key, [span({ name: "write answer", trace, parent: root, start: 1170, duration: 60 })], service("assistant"));
  return trace;
}

test("an empty collector says how to send, and the first trace appears by itself", async () => {
  await withBrowser(async (open) => {
    const page = await open(COLLECTOR);
    await page.getByText("No traces yet").waitFor();
    assert.match(await page.locator("#empty").textContent(), new RegExp("OTEL_EXPORTER_OTLP_ENDPOINT=http://127"));
    await until("live", async () => (await page.locator("#state").textContent()) === "live");
    await agent("key-acme", { "tracer_registry.selector": "tenant:acme" });
    await listed(page, "answer question").waitFor();
    await until("11 spans", async () => (await page.locator("#total-spans").textContent()) === "11");
    assert.equal(await page.locator("#foreign").textContent(), "0");
    assert.ok(!(await page.locator("#empty").isVisible()));
  });
});

test("a trace is a waterfall with attributes, errors, events and folded prompts", async () => {
  const trace = await agent("key-acme", {}, "waterfall");
  await withBrowser(async (open) => {
    const page = await open(COLLECTOR);
    await openProject(page, "acme");
    await listed(page, "waterfall").click();
    await drawn(page, "rerank").waitFor();
    assert.ok(page.url().endsWith("/t/" + trace));
    const tree = page.locator("#waterfall tbody tr:not(.spacer)");
    assert.equal(await tree.count(), 11);
    const levels = await tree.evaluateAll((lines) => lines.map((line) => Number(line.getAttribute("aria-level"))));
    assert.deepEqual(levels, [1, 2, 2, 3, 3, 3, 3, 3, 3, 2, 2]);
    // The bar of the call to the model starts at 520 of 1240 ms and takes 640.
    const bar = await drawn(page, "chat gpt-4o").locator(".time").evaluate((bar) => [parseFloat(bar.style.insetInlineStart), parseFloat(bar.style.width)]);
    assert.ok(Math.abs(bar[0] - 41.9) < 0.5 && Math.abs(bar[1] - 51.6) < 0.5, String(bar));
    assert.match(await drawn(page, "chat gpt-4o").textContent(), /gpt-4o · 1,840 → 212 tokens/);
    await drawn(page, "chat gpt-4o").click();
    const aside = page.locator("#span");
    const prompt = aside.locator("details", { hasText: "Prompt" });
    await prompt.waitFor();
    assert.equal(await prompt.getAttribute("open"), null);
    await prompt.locator("summary").click();
    await aside.getByText("Which invoices are overdue?").waitFor();
    assert.match(await aside.textContent(), /gen_ai.request.temperature/);
    await drawn(page, "rerank").click();
    await aside.getByText("RankError: model not loaded").first().waitFor();
    assert.match(await aside.textContent(), /fallback at 65/);
    // A span that arrives later appears.
    const parent = hex(8);
    await send(COLLECTOR, "key-acme", [span({ name: "late", trace, id: parent, start: 1230, duration: 5 })]);
    await drawn(page, "late").waitFor();
  });
});

test("projects are sorted and filtered", async () => {
  for (const [key, count] of [["key-sort-1", 3], ["key-sort-2", 1], ["key-sort-3", 2]]) {
    await send(COLLECTOR, key, Array.from({ length: count }, () => span({ name: "sorted" })));
  }
  await withBrowser(async (open) => {
    const page = await open(COLLECTOR);
    await project(page, "acme").waitFor();
    await page.mouse.move(1000, 500);
    const spans = page.locator("#projects th", { hasText: "spans" });
    await spans.locator("button").click();
    await page.mouse.move(1000, 500);
    const column = () => page.locator("#projects tbody tr:not(.spacer) td:nth-child(3)").allTextContents();
    await until("sorted", async () => {
      const counts = (await column()).map(Number);
      return (counts.length >= 5 && counts.every((count, index) => index === 0 || counts[index - 1] >= count)) || String(counts);
    });
    assert.equal(await spans.getAttribute("aria-sort"), "descending");
    await page.locator("#project-filter").fill("glob");
    await until("filtered", async () => (await names(page)).join() === "globex" || String(await names(page)));
  });
});

test("search finds names, attributes, sessions and trace ids", async () => {
  const trace = hex(16);
  await send(COLLECTOR, "key-search", [
    span({ name: "needle span", trace, attributes: { "order.id": "A-4711", "session.id": "s-77" } }),
    ...Array.from({ length: 30 }, (_, n) => span({ name: "hay " + n, attributes: { "order.id": "B-" + n } })),
  ]);
  await withBrowser(async (open) => {
    const page = await open(COLLECTOR);
    await page.locator("#all").click();
    for (const search of ["needle", "NEEDLE span", "order.id=a-4711", "s-77", trace, "4711"]) {
      await page.locator("#search").fill(search);
      await until(search, async () => (await page.locator("#found").textContent()) === "1 trace" && (await listed(page, "needle span").count()) === 1);
    }
    await page.locator("#search").fill("order.id=A-4712");
    await page.getByText("No trace matches.").waitFor();
    await page.locator("#search").fill("");
    await page.locator("#only-errors").check();
    await until("errors", async () => (await listed(page, "hay").count()) === 0 && (await listed(page, "").count()) > 0);
  });
});

test("sessions are listed, and lead to their traces", async () => {
  await fetch(COLLECTOR + "session/start", {
    method: "POST", headers: { "content-type": "application/json", authorization: "Bearer key-globex" },
    body: JSON.stringify({ session: { session_name: "support chat", session_id: "0b1c7f5e-3f3c-4b8e-9c55-0d3f6f0c5a11", metadata: { plan: "team" } } }),
  });
  await send(COLLECTOR, "key-globex", [span({ name: "in the chat", attributes: { "honeyhive.session_id": "0b1c7f5e-3f3c-4b8e-9c55-0d3f6f0c5a11" } }), span({ name: "elsewhere" })]);
  await withBrowser(async (open) => {
    const page = await open(COLLECTOR);
    await openProject(page, "globex");
    await page.locator("#tab-sessions").click();
    await listed(page, "support chat").click();
    await listed(page, "in the chat").waitFor();
    assert.equal(await listed(page, "elsewhere").count(), 0);
    await page.locator("#session-details").getByText("team").waitFor();
  });
});

test("foreign data is red wherever one looks", async () => {
  const trace = hex(16), own = hex(8);
  await send(COLLECTOR, "key-acme", [span({ name: "own root", trace, id: own })], { "tracer_registry.selector": "tenant:acme" });
  await send(COLLECTOR, "key-globex", [span({ name: "leaked", trace, parent: own })], { "tracer_registry.selector": "tenant:acme" });
  await withBrowser(async (open) => {
    const page = await open(COLLECTOR);
    const alarm = page.locator("#foreign");
    await until("alarm", async () => (await alarm.textContent()) === "1" && (await alarm.getAttribute("data-on")) === "true");
    const [colour, ground] = await alarm.evaluate((alarm) => [getComputedStyle(alarm).color, getComputedStyle(alarm).backgroundColor]);
    assert.deepEqual([colour, ground], ["rgb(255, 255, 255)", "rgb(177, 37, 28)"]);
    await until("first", async () => (await names(page))[0] === "globex" || String(await names(page)));
    await alarm.click();
    await listed(page, "leaked").click();
    await drawn(page, "leaked").click();
    await page.locator("#span").getByText("it states the owner tenant:acme").waitFor();
    await page.locator("#span").getByText("Its parent is in another project: acme").waitFor();
  });
});

test("text of clients is text: markup, control characters, long and right-to-left names", async () => {
  const hostile = [
    "<img src=x onerror=document.title='broken'>", "</script><script>document.title='broken'</script>",
    "bell\u0007 escape\u001b[31m null\u0000", "\u202egnp.exe\u202c", "zero\u200bwidth", "x".repeat(200000), "مرحبا بالعالم", "\ud83d\ude00 emoji",
  ];
  const trace = hex(16), root = hex(8);
  await send(COLLECTOR, "key-hostile", hostile.map((name, n) => span({
    name, trace, id: n ? undefined : root, parent: n ? root : undefined, start: n, error: name,
    attributes: { [name.slice(0, 300)]: name, "session.id": name.slice(0, 60) },
    events: [{ name, attributes: { "exception.stacktrace": name } }],
  })), { "service.name": hostile[0] });
  await withBrowser(async (open) => {
    const page = await open(COLLECTOR);
    await page.locator("#all").click();
    const row = listed(page, "<img src=x");
    await row.first().waitFor();
    await row.first().click();
    const rows = page.locator("#waterfall tbody tr:not(.spacer)");
    await until("all", async () => (await rows.count()) === hostile.length);
    const texts = await page.locator("#waterfall bdi").allTextContents();
    assert.equal(texts[0], hostile[0]);
    assert.equal(texts[2], "bell␇ escape␛[31m null␀");
    assert.equal(texts[3], "‹202E›gnp.exe‹202C›");
    assert.equal(texts[4], "zero‹200B›width");
    assert.ok(texts[5].length < 140, String(texts[5].length));
    for (let n = 0; n < hostile.length; n++) {
      await rows.nth(n).click();
      await until("details", async () => (await page.locator("#span h2").textContent()).slice(0, 3) === texts[n].slice(0, 3));
    }
    const found = await page.evaluate(() => [document.images.length, document.querySelectorAll("body script").length, document.title]);
    assert.deepEqual(found.slice(0, 2), [0, 0]);
    assert.match(found[2], /Local collector$/);
    assert.ok((await page.evaluate(() => document.body.textContent.length)) < 600000);
    await fits(page);
  });
});

test("everything works with the keyboard", async () => {
  await agent("key-acme", {}, "keyboard");
  await withBrowser(async (open) => {
    const page = await open(COLLECTOR);
    await project(page, "acme").first().waitFor();
    await page.keyboard.press("Tab");
    await until("skip link", () => page.evaluate(() => document.activeElement.className === "skip"));
    const reach = async (what, is) => {
      for (let presses = 0; presses < 60; presses++) {
        if (await page.evaluate(is)) return;
        await page.keyboard.press("Tab");
      }
      assert.fail("not reached by Tab: " + what);
    };
    await reach("projects", () => Boolean(document.activeElement.closest("#projects tbody tr")));
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, "solid");
    await page.keyboard.press("End");
    await page.keyboard.press("Home");
    for (let presses = 0; presses < 40; presses++) {
      if (await page.evaluate(() => document.activeElement.textContent.startsWith("acme"))) break;
      await page.keyboard.press("ArrowDown");
    }
    await page.keyboard.press("Enter");
    await listed(page, "keyboard").waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("keyboard");
    await until("found", async () => (await page.locator("#found").textContent()) === "1 trace");
    await reach("list", () => Boolean(document.activeElement.closest("#list tbody tr")));
    await page.keyboard.press("Enter");
    await drawn(page, "rerank").waitFor();
    await reach("waterfall", () => Boolean(document.activeElement.closest("#waterfall tbody tr")));
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowLeft");
    await until("folded", async () => (await page.locator("#waterfall tbody tr:not(.spacer)").count()) === 5);
    await page.keyboard.press("ArrowRight");
    await until("unfolded", async () => (await page.locator("#waterfall tbody tr:not(.spacer)").count()) === 11);
    await page.keyboard.press("Enter");
    await until("details", () => page.evaluate(() => document.activeElement.id === "span"));
    await page.keyboard.press("Escape");
    await until("back", () => page.evaluate(() => Boolean(document.activeElement.closest("#waterfall tbody tr"))));
  });
});

test("it fits from 360 to 2560 pixels, and in both themes", async () => {
  await agent("key-acme", {}, "narrow");
  await withBrowser(async (open) => {
    const page = await open(COLLECTOR);
    for (const width of [360, 800, 1440, 2560]) {
      await page.setViewportSize({ width, height: 740 });
      await page.goto(COLLECTOR + "#/");
      await project(page, "acme").first().click();
      await listed(page, "narrow").waitFor();
      await fits(page);
      await listed(page, "narrow").click();
      await drawn(page, "rerank").click();
      await page.locator("#span h2").waitFor();
      await fits(page);
    }
    await page.locator("#theme").click();
    await page.locator("#theme").click();
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(14, 17, 22)");
  });
});

test("a lost connection says so, and recovers", async () => {
  const connection = await cuttable(COLLECTOR);
  try {
    await withBrowser(async (open) => {
      const page = await open(connection.url, /Failed to load resource/);
      await until("live", async () => (await page.locator("#state").textContent()) === "live");
      connection.cut();
      await page.locator("#banner", { hasText: "Connection lost" }).waitFor();
      await send(COLLECTOR, "key-lost", [span({ name: "sent meanwhile" })]);
      connection.mend();
      await until("restored", async () => (await page.locator("#state").textContent()) === "live" && !(await page.locator("#banner").isVisible()));
      await page.locator("#all").click();
      await listed(page, "sent meanwhile").waitFor();
    });
  } finally {
    connection.close();
  }
});

// Takes a quiet machine, and some minutes with a debug build: MEASURE=1.
test("a span is painted within 200 ms, at 2,000 spans/s over 10,000 projects", { skip: !process.env.MEASURE }, async () => {
  // 10,000 requests, a hundred at once.
  for (let n = 0; n < 9900; n += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, i) => send(COLLECTOR, "many-" + (n + i), [span({ name: "fill" })])));
  }
  await withBrowser(async (open) => {
    const page = await open(COLLECTOR);
    await until("10,000 projects", async () => Number((await page.locator("#total-projects").textContent()).replace(",", "")) >= 9900);
    await page.locator("#all").click();
    let isOver = false, sent = 0;
    const load = (async () => {
      const began = Date.now();
      for (let n = 0; !isOver; n++) {
        // 20 requests of 5 spans each 50 ms.
        await Promise.all(Array.from({ length: 20 }, (_, i) => send(COLLECTOR, "many-" + ((n * 20 + i) % 9900), Array.from({ length: 5 }, () => span({ name: "load" })))));
        sent += 100;
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, began + (n + 1) * 50 - Date.now())));
      }
      return sent * 1000 / (Date.now() - began);
    })();
    const times = [];
    for (let n = 0; n < 30; n++) {
      const name = "measured " + n;
      const painted = page.evaluate((name) => new Promise((resolve) => {
        const look = () => {
          if (document.querySelector("#list").textContent.includes(name)) requestAnimationFrame(() => setTimeout(() => resolve(Date.now()), 0));
          else requestAnimationFrame(look);
        };
        look();
      }), name);
      const began = Date.now();
      await send(COLLECTOR, "many-" + n, [span({ name })]);
      times.push((await painted) - began);
    }
    isOver = true;
    const rate = await load;
    times.sort((one, other) => one - other);
    console.log(`event to paint at ${Math.round(rate)} spans/s: median ${times[15]} ms, 9 of 10 ${times[27]} ms, longest ${times[29]} ms`);
    assert.ok(times[27] < 200, String(times));
  });
});

if (SHOTS) {
  test("screenshots", async () => {
    await withBrowser(async (open) => {
      const page = await open(COLLECTOR);
      for (const [width, height] of [[1440, 820], [360, 740]]) {
        await page.setViewportSize({ width, height });
        for (const colorScheme of ["light", "dark"]) {
          await page.emulateMedia({ colorScheme });
          const shot = (name) => page.screenshot({ path: `${SHOTS}/collector-${name}-${width}-${colorScheme}.png` });
          await page.goto(COLLECTOR + "#/");
          await project(page, "acme").first().waitFor();
          await shot("projects");
          await project(page, "acme").first().click();
          await listed(page, "").first().waitFor();
          await shot("traces");
          await listed(page, "answer question").first().click();
          await drawn(page, "rerank").waitFor();
          await shot("trace");
          await drawn(page, width > 600 ? "chat gpt-4o" : "rerank").click();
          await page.locator("#span h2").waitFor();
          await shot("span");
        }
      }
    });
  });
}
