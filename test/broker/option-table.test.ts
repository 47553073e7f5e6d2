// test/README.md has a row for every option that the broker knows, and each row names a test that exists.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { BrokerError } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import { manualBroker } from "../support/manual-broker.js";

const root = join(import.meta.dirname, "../..");
const page = readFileSync(join(root, "test/README.md"), "utf8");

/** The rows under a heading: option, file, name of a test. */
function rowsOf(heading: string): [option: string, file: string, name: string][] {
  const [, section = ""] = page.split(`### ${heading}\n`);
  const rows = section.split("\n### ")[0]?.matchAll(/^\| `([^`]+)`\s*\| `([^`]+)`: "(.+)"\s*\|$/gm) ?? [];
  return [...rows].map(([, option = "", file = "", name = ""]) => [option, file, name]);
}

/** The options a call knows, as its error about an unknown one lists them. */
async function known(call: (options: object) => unknown): Promise<string[]> {
  const error = await Promise.resolve()
    .then(() => call({ "no such option": 1 }))
    .then(
      () => new Error("took an option that nobody knows"),
      (thrown: unknown) => thrown as BrokerError,
    );
  return (/known are (.*)$/.exec(error.message)?.[1] ?? "").split(", ");
}

describe("test/README.md", () => {
  it("has a row for every option of the broker, of a publish and of a subscription", async () => {
    const { broker } = manualBroker();
    const sections = [
      "subscription",
      "memory",
      "ttl",
      "ack",
      "dedup",
      "transactions",
      "deadLetter",
      "priority",
      "limits",
    ];
    const options = (await known((given) => new InProcBroker(given))).filter((name) => !sections.includes(name));
    for (const section of sections) {
      for (const name of await known((given) => new InProcBroker({ [section]: given })))
        options.push(`${section}.${name}`);
    }
    expect(rowsOf("Broker").map(([option]) => option).sort()).toEqual(options.sort()); // prettier-ignore
    const publish = await known((given) => broker.publish("t", 1, given));
    expect(rowsOf("Publish").map(([option]) => option).sort()).toEqual(publish.sort()); // prettier-ignore
    const subscribe = await known((given) => broker.subscribe("t", given));
    expect(rowsOf("Subscribe").map(([option]) => option).sort()).toEqual(subscribe.sort()); // prettier-ignore
    expect(options.length + publish.length + subscribe.length).toBeGreaterThan(60);
  });

  it("names tests that exist", () => {
    const rows = ["Broker", "Publish", "Subscribe", "Other calls"].flatMap(rowsOf);
    expect(rows.length).toBeGreaterThan(80);
    const missing = rows.filter(([, file, name]) => {
      const path = join(root, file);
      return !existsSync(path) || !readFileSync(path, "utf8").includes(name);
    });
    expect(missing).toEqual([]);
  });
});
