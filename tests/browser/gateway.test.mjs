// The page of the gateway in a real browser. GATEWAY and ADMIN have the URLs of its listeners, TOKEN
// the token of the admin, METRICS that of the scraper. The callers acme and globex have the
// tokens CALLER_ACME and CALLER_GLOBEX. The key of globex is refused.
import assert from "node:assert/strict";
import { test } from "node:test";
import { cuttable, fits, send, span, until, withBrowser } from "./browser.mjs";

const { GATEWAY, ADMIN, TOKEN, METRICS, CALLER_ACME, CALLER_GLOBEX, SCREENSHOTS } = process.env;

const tenant = (page, name) => page.locator("#tenants tbody tr:not(.spacer)", { hasText: name });

async function signedIn(open, url = ADMIN + "/", ...allowed) {
  // The gateway of this test keeps no refused batches.
  const page = await open(url, /409/, ...allowed);
  await page.locator("#token").fill(TOKEN);
  await page.keyboard.press("Enter");
  await page.locator("#tenants").waitFor();
  return page;
}

test("the page holds no data, and refuses an unknown token", async () => {
  await send(GATEWAY, CALLER_ACME, [span({ name: "first" })]);
  for (const path of ["/", "/page/gateway.js", "/page/gateway.css", "/page/shared.js", "/page/shared.css", "/page/icon.svg"]) {
    const response = await fetch(ADMIN + path);
    assert.equal(response.status, 200, path);
    assert.match(response.headers.get("content-security-policy"), /^default-src 'none'; script-src 'self';/);
    assert.ok(!(await response.text()).includes("acme"), path);
  }
  await withBrowser(async (open) => {
    const page = await open(ADMIN + "/", /401|403/);
    for (const [token, words] of [["a-token-of-somebody-else", /does not know this token/], [METRICS, /only read metrics/]]) {
      await page.locator("#token").fill(token);
      await page.keyboard.press("Enter");
      await until(token, async () => words.test(await page.locator("#refusal").textContent()));
      assert.ok(!(await page.locator("#tenants").isVisible()));
    }
    await page.locator("#token").fill(TOKEN);
    await page.keyboard.press("Enter");
    await tenant(page, "tenant:acme").waitFor();
    await page.locator("#state", { hasText: "live" }).waitFor({ timeout: 5000 });
    const kept = await page.evaluate(() => [location.href, document.cookie, localStorage.length, sessionStorage.length, document.querySelector("#token").value]);
    assert.deepEqual(kept.slice(1), ["", 0, 0, ""]);
    assert.ok(!kept[0].includes(TOKEN));
    await page.locator("#sign-out").click();
    assert.ok(!(await page.locator("#tenants").isVisible()));
    assert.ok(!(await page.content()).includes("tenant:acme"));
  });
});

test("tenants live, sorted and filtered, and a refused key on top", async () => {
  await send(GATEWAY, CALLER_GLOBEX, [span({ name: "refused" })]);
  await withBrowser(async (open) => {
    const page = await signedIn(open);
    await page.locator("#attention li.error", { hasText: "tenant:globex" }).first().waitFor();
    assert.ok(await tenant(page, "tenant:globex").evaluate((line) => line.classList.contains("alert")));
    const delivered = async () => Number((await tenant(page, "tenant:acme").locator("td").nth(4).textContent()).replace(",", ""));
    await until("delivered", async () => (await delivered()) > 0);
    const before = await delivered();
    await send(GATEWAY, CALLER_ACME, [span({ name: "one more" })]);
    await until("live", async () => (await delivered()) > before);
    await page.locator("#tenants th", { hasText: "delivered" }).locator("button").click();
    await until("sorted", async () => (await page.locator("#tenants tbody tr:not(.spacer)").first().textContent()).startsWith("tenant:acme"));
    await page.locator("#only").selectOption("failing");
    await until("failing", async () => (await tenant(page, "").count()) === 1 && (await tenant(page, "tenant:globex").count()) === 1);
    await page.locator("#only").selectOption("all");
    await page.locator("#filter").fill("acm");
    await until("filtered", async () => (await tenant(page, "").count()) === 1 && (await tenant(page, "tenant:acme").count()) === 1);
  });
});

test("one tenant has a ledger that adds up, its key and its errors", async () => {
  await withBrowser(async (open) => {
    const page = await signedIn(open);
    await tenant(page, "tenant:acme").click();
    const ledger = page.locator("#other .ledger").first();
    await ledger.waitFor();
    const [accepted, ...terms] = (await ledger.locator("b").allTextContents()).map((text) => Number(text.replace(",", "")));
    assert.equal(accepted, terms.reduce((all, n) => all + n, 0));
    assert.equal((await ledger.locator(".op").first().textContent()), "=");
    assert.match(await page.locator("#other").textContent(), /fingerprint[0-9a-f]{12}/);
    await page.goto(ADMIN + "/#/tenant/tenant%3Aglobex");
    await page.locator("#other .say").first().waitFor();
    // The receiver's words are text.
    const words = await page.locator("#other").textContent();
    assert.match(words, /401/);
    assert.match(words, /<img src=x onerror=alert\(1\)><b>bold<\/b>/);
    assert.doesNotMatch(words, /[\u0007\u202e]/);
    assert.equal(await page.locator("#other img, #attention img, #other .say b").count(), 0);
    assert.match(words, /The last hour/);
    for (const [link, words] of [["Callers", "acme-backend"], ["Endpoints", "http://127.0.0.1"], ["Configuration", "gateway.toml"], ["Explain", "Trace id"]]) {
      await page.locator("#places a", { hasText: link }).click();
      await page.locator("#other").getByText(words).first().waitFor();
    }
  });
});

test("it works with the keyboard, and fits from 360 to 2560 pixels", async () => {
  await withBrowser(async (open) => {
    const page = await signedIn(open);
    await tenant(page, "tenant:acme").waitFor();
    for (let presses = 0; presses < 40; presses++) {
      if (await page.evaluate(() => Boolean(document.activeElement.closest("#tenants tbody tr")))) break;
      await page.keyboard.press("Tab");
    }
    await page.keyboard.press("Home");
    await page.keyboard.press("Enter");
    await page.locator("#other .ledger").first().waitFor();
    for (const width of [360, 800, 1440, 2560]) {
      await page.setViewportSize({ width, height: 740 });
      await fits(page);
    }
    await page.keyboard.press("Escape");
    await tenant(page, "tenant:acme").waitFor();
    await page.locator("h1").first().click();
    await page.keyboard.press("/");
    assert.ok(await page.locator("#filter").evaluate((field) => field === document.activeElement));
    for (const width of [360, 1440]) {
      await page.setViewportSize({ width, height: 740 });
      await fits(page);
    }
  });
});

test("a lost connection says so, and recovers", async () => {
  const connection = await cuttable(ADMIN + "/");
  try {
    await withBrowser(async (open) => {
      const page = await signedIn(open, connection.url, /Failed to load resource/);
      await until("live", async () => (await page.locator("#state").textContent()) === "live");
      connection.cut();
      await page.locator("#banner", { hasText: "Connection lost" }).waitFor();
      connection.mend();
      await until("restored", async () => (await page.locator("#state").textContent()) === "live" && !(await page.locator("#banner").isVisible()));
    });
  } finally {
    connection.close();
  }
});

if (SCREENSHOTS) {
  test("screenshots", async () => {
    await withBrowser(async (open) => {
      const page = await signedIn(open);
      for (const [width, height] of [[1440, 820], [360, 740]]) {
        await page.setViewportSize({ width, height });
        for (const colorScheme of ["light", "dark"]) {
          await page.emulateMedia({ colorScheme });
          const shot = (name) => page.screenshot({ path: `${SCREENSHOTS}/gateway-${name}-${width}-${colorScheme}.png` });
          await page.locator("#places a", { hasText: "Tenants" }).click();
          await tenant(page, "tenant:globex").waitFor();
          await shot("tenants");
          await tenant(page, "tenant:globex").click();
          await page.locator("#other .ledger").first().waitFor();
          await shot("tenant");
          await page.locator("#places a", { hasText: "Configuration" }).click();
          await page.locator("#other").getByText("gateway.toml").first().waitFor();
          await shot("config");
        }
      }
    });
  });
}
