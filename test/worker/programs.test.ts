import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { isBuiltin } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { rolldown } from "rolldown";
import { describe, expect, it, onTestFinished } from "vitest";
import { InProcBroker } from "inproc-broker";
import { workerPool } from "inproc-broker/worker";
import { runNode } from "../examples/run-node.js";
import { Collector } from "./fixture.js";

const module = (path: string): string => fileURLToPath(new URL(`./modules/${path}`, import.meta.url));

describe("a program", () => {
  it("may be CommonJS, and so may its workers", async () => {
    expect(await runNode([module("program.cjs")])).toEqual({ exitCode: 0, stdout: "{ cjs: 1 }\ngo\n0\n", stderr: "" });
  });

  it("may be started with arguments of V8, from a file and from standard input", async () => {
    const program = module("program.cjs");
    const went = { exitCode: 0, stdout: "{ cjs: 1 }\ngo\n0\n", stderr: "" };
    expect(await runNode(["--max-old-space-size=256", program])).toEqual(went);
    const script = `import ${JSON.stringify(pathToFileURL(program).href)}`;
    expect(await runNode(["--expose-gc", "--input-type=module", "-"], script)).toEqual(went);
  });

  for (const format of ["esm", "cjs"] as const) {
    it(`may be bundled (${format}), with its worker as an entry of its own`, async () => {
      const dir = await mkdtemp(join(tmpdir(), "inproc-broker-bundle-"));
      onTestFinished(() => rm(dir, { recursive: true, force: true }));
      const extension = format === "esm" ? "mjs" : "cjs";
      for (const [entry, written, as] of [
        ["main.mjs", `main.${extension}`, format],
        ["job.mjs", "job.mjs", "esm"],
      ] as const) {
        const bundle = await rolldown({
          input: module(`app/${entry}`),
          platform: "node",
          tsconfig: false,
          logLevel: "silent",
        });
        await bundle.write({ file: join(dir, written), format: as, codeSplitting: false });
        await bundle.close();
      }
      // All that it needs is in these two files.
      const files = await readdir(dir);
      expect(files.sort()).toEqual(["job.mjs", `main.${extension}`]);
      const texts = await Promise.all(files.map((file) => readFile(join(dir, file), "utf8")));
      const imports = [...texts.join("\n").matchAll(/^import .* from "(.*)"|\brequire\("(.*?)"\)/gm)];
      expect(imports.map(([, esm, cjs]) => esm ?? cjs ?? "").filter((name) => !isBuiltin(name))).toEqual([]);
      expect(await runNode([join(dir, `main.${extension}`)])).toEqual({ exitCode: 0, stdout: "2\n4\n6\n", stderr: "" });
    });
  }
});

describe("a worker module", () => {
  it("may be TypeScript: through a loader, and without one where Node.js strips types", async () => {
    const broker = new InProcBroker({ ack: {} });
    onTestFinished(async () => {
      await broker.close({ drain: false });
    });
    const done = new Collector<unknown>();
    broker.subscribe("done", ({ data }) => done.add(data));
    // What Node.js 20 does not have.
    const { typescript } = process.features as { typescript?: unknown };
    const canStrip = typescript === "strip";
    const execArgv = canStrip ? [] : ["--import", new URL("./modules/typescript.mjs", import.meta.url).href];
    const bootstrap = new URL("../../dist/worker/pool-entry.js", import.meta.url);
    const handler = new URL("./modules/handler.ts", import.meta.url);
    const pool = workerPool(broker, "work", handler, { size: 1, execArgv, bootstrap });
    onTestFinished(() => pool.close({ drain: false }));
    await broker.publish("work", { n: 21 });
    expect(await done.until(1)).toEqual([{ typescript: 42 }]);
  });
});
