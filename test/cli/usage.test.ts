import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { commands } from "../../src/cli/run.js";
import { nearest } from "../../src/cli/nearest.js";
import { ProgressLine } from "../../src/cli/progress.js";
import { durable, openStore, temporaryFolder } from "../persistence/store/fixture.js";
import { ManualClock } from "../support/manual-clock.js";
import { command, fullStore } from "./fixture.js";

describe("the command line", () => {
  it("suggests what was meant, and ends with 2", async () => {
    const wrong: [string[], RegExp][] = [
      [["verfiy", "x"], /no command "verfiy"\. Did you mean verify\?/],
      [["list", "x"], /Did you mean ls\?/],
      [["qqqqqqqq"], /no command "qqqqqqqq"\. inproc-broker --help/],
      [["verify", "x", "--jsn"], /verify has no option --jsn\. Did you mean --json\?/],
      [["import", "x", "--form-line", "3"], /Did you mean --from-line\?/],
      [["verify"], /<store> is missing: inproc-broker verify <store>/],
      [["backup", "x"], /<target> is missing/],
      [["verify", "a", "b"], /"b" is too much/],
      [["peek", "x", "--limit", "many"], /--limit must be a whole number from 1; got "many"/],
      [["peek", "x", "--from", "tomorrow"], /--from must be a message's number or a time/],
      [["peek", "x", "a..b"], /a\.\.b/],
      [["ls", "x", "topic"], /Did you mean topics\?/],
      [["ls", "x", "toString"], /ls lists topics/],
      [["ls", "x", "--key", "1"], /ID=HEX or ID=FILE/],
      [["ls", "x", "--key", "0=aa"], /ID=HEX or ID=FILE/],
    ];
    for (const [args, text] of wrong) {
      const done = await command(args);
      expect(done.err, args.join(" ")).toMatch(text);
      expect([done.code, done.out], args.join(" ")).toEqual([2, ""]);
      expect(done.err.split("\n").length, done.err).toBe(2);
    }
    const nothing = await command([]);
    expect([nothing.code, nothing.out]).toEqual([2, expect.stringMatching(/^Looks after the folders/)]);
  });

  it("never shows a key", async () => {
    const secret = "5ec2e7".repeat(10);
    for (const text of [`1=${secret}`, `=${secret}`, `x=${secret}`, secret]) {
      const done = await command(["ls", "nowhere", "--key", text]);
      expect(done.code, text).toBe(2);
      expect(done.err, text).not.toContain(secret);
    }
    const file = join(temporaryFolder(), "short");
    fs.writeFileSync(file, "abc");
    expect((await command(["ls", "nowhere", "--key", `1=${file}`])).err).toMatch(/must hold 32 bytes.*it holds 3/);
  });

  it("has help with examples for every command, and the package's version", async () => {
    const general = await command(["--help"]);
    for (const { name, examples, options } of commands) {
      expect(general.out).toContain(`  ${name} `);
      const help = await command([name, "--help"]);
      expect(help.code).toBe(0);
      expect((await command(["help", name])).out).toBe(help.out);
      expect(help.out).toMatch(new RegExp(`^Usage: inproc-broker ${name} <`));
      for (const option of [...Object.keys(options), "json", "key", "progress"])
        expect(help.out).toContain(`--${option}`);
      expect(examples.length).toBeGreaterThan(0);
      for (const [line] of examples) expect(help.out).toContain(line);
      expect(Math.max(...help.out.split("\n").map((line) => line.length)), name).toBeLessThanOrEqual(140);
    }
    const { version } = JSON.parse(fs.readFileSync("package.json", "utf8")) as { version: string };
    expect(await command(["--version"])).toMatchObject({ code: 0, out: `${version}\n`, err: "" });
  });

  it("tells an error as JSON where JSON was asked for", async () => {
    const done = await command(["verify", "/nowhere/at/all", "--json"]);
    expect([done.code, done.out]).toEqual([5, ""]);
    expect(JSON.parse(done.err)).toMatchObject({
      error: { code: "ERR_STORE_FAILED", facts: { path: "/nowhere/at/all" } },
    });
    const usage = await command(["verify", "--json", "--nope"]);
    expect(JSON.parse(usage.err)).toMatchObject({ error: { code: "ERR_USAGE" } });
  });

  it("shows progress to who watches, or who asks", async () => {
    const path = join(temporaryFolder(), "data");
    await fullStore(path);
    expect((await command(["verify", path])).err).toBe("");
    expect((await command(["verify", path], { isWatched: true })).err).toMatch(
      /^\r0 of \d+ blocks.*\r(\d+) of \1 blocks *\n$/s,
    );
    expect((await command(["verify", path, "--progress"])).err).toMatch(/^0 of \d+ blocks\n(\d+) of \1 blocks\n$/);
    const backup = await command(["backup", path, `${path}.zip`, "--progress"]);
    expect(backup.err).toMatch(/^\d+ of \d+ bytes\n(\d+ of \d+ bytes\n)*$/);
    expect(backup.err).toMatch(/\b(\d+) of \1 bytes\n$/);
    expect(backup.shown).toBe(backup.err + backup.out);
    const store = await openStore(path, { retention: { maxMessages: 1 }, reserveBytes: 0 });
    await store.append([durable("settled", ["none.of.them"])]);
    await store.close();
    expect((await command(["compact", path, "--progress"])).err).toMatch(/^0 of \d+ blocks\n(\d+) of \1 blocks\n$/);
  });

  it("shows progress once in a fifth of a second, and how it ended", () => {
    const clock = new ManualClock();
    const shown: string[] = [];
    const progress = new ProgressLine(
      (text) => void shown.push(text),
      false,
      () => clock.monotonic(),
    );
    const show = (done: number): void => progress.show({ done, total: 4, unit: "blocks" });
    show(0);
    clock.block(199);
    show(1);
    clock.block(1);
    show(2);
    show(3);
    show(4);
    progress.end();
    expect(shown).toEqual(["0 of 4 blocks\n", "2 of 4 blocks\n", "4 of 4 blocks\n"]);
  });

  it("takes the nearest name only when it is near", () => {
    const names = ["inspect", "ls", "verify", "restore"];
    expect(nearest("inpsect", names)).toBe("inspect");
    expect(nearest("VERIFY", names)).toBe("verify");
    expect(nearest("s", names)).toBe("ls");
    expect(nearest("zzz", names)).toBeUndefined();
  });
});
