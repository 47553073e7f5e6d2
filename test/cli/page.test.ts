import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { StoreEngine } from "../../src/persistence/engine.js";
import { ack, durable, message, publish, temporaryFolder } from "../persistence/store/fixture.js";
import { command } from "./fixture.js";

/** The store that the page looks at. */
async function pageStore(path: string): Promise<void> {
  const store = await StoreEngine.open({ path, reserveBytes: 0 });
  await store.append([durable("billing", ["orders.>"])]);
  await store.append([publish(1, { id: "A1", data: { order: 17, total: 20 }, key: "17" })]);
  await store.append([publish(2, { id: "A2", data: { order: 18, total: 5 }, key: "18" })]);
  await store.append([publish(3, { id: "A3", topic: "orders.paid", data: { order: 17 }, key: "17", priority: 7 })]);
  await store.append([ack("billing", 1)]);
  await store.append([
    { type: "settle", durable: "billing", seq: 2, outcome: "attempt", deliveryCount: 2, reason: "no answer" },
  ]);
  await store.append([
    {
      type: "dead-letter-added",
      id: "L1",
      message: message(1, { id: "A0", data: { order: 16 } }),
      facts: { reason: "max-deliveries" },
    },
  ]);
  await store.checkpoint();
  await store.append([publish(4, { id: "A4", topic: "orders.paid", data: { order: 18 }, key: "18" })]);
  await store.close();
}

/** Words of a shell's line; quotes hold them together. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
}

/** Sizes depend on the versions of LevelDB and zlib. */
const settled = (text: string): string => text.replace(/\d+ files?/g, "… files").replace(/[\d.]+ (?:B|KiB)\b/g, "… B");

describe("docs/cli.md", () => {
  it("shows what the command prints", async () => {
    const folder = temporaryFolder();
    await pageStore(join(folder, "data"));
    const page = fs.readFileSync("docs/cli.md", "utf8");
    const blocks = [...page.matchAll(/^```console\n(.*?)^```/gms)].map(([, block = ""]) => block);
    expect(blocks.length).toBeGreaterThan(8);
    for (const block of blocks) {
      for (const part of block.split(/^\$ /m).slice(1)) {
        const [line = "", ...shown] = part.split("\n");
        const [, echoed, call = ""] = /^(?:echo '(.*)' \| )?inproc-broker (.*)$/.exec(line) ?? [];
        const args = wordsOf(call).map((word) => (word.startsWith("./") ? join(folder, word) : word));
        const { out, err } = await command(args, { input: echoed ?? "" });
        const printed = (out + err).replaceAll(`${folder}/`, "./");
        expect(settled(printed), line).toBe(settled(shown.join("\n")));
      }
    }
  });

  it("has the help of every command, and the exit codes", async () => {
    const page = fs.readFileSync("docs/cli.md", "utf8");
    for (const name of ["inspect", "ls", "peek", "verify", "export", "import", "compact", "backup", "restore"]) {
      const help = await command([name, "--help"]);
      const [usage = ""] = help.out.split("\n");
      expect(page, name).toContain(usage.replace("Usage: ", "").replace(" [options]", ""));
    }
    for (const code of [0, 1, 2, 3, 4, 5, 6]) expect(page).toContain(`| ${code} |`);
  });
});
