import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runNode } from "../examples/run-node.js";
import { temporaryFolder } from "../persistence/store/fixture.js";
import { fullStore } from "./fixture.js";

const main = "dist/cli/main.js";

describe("the command as a process", () => {
  it("takes lines from a pipe, ends with its exit code, and writes results and complaints apart", async () => {
    const folder = temporaryFolder();
    const path = join(folder, "data");
    await fullStore(path);
    const exported = await runNode([main, "export", path]);
    expect(exported).toMatchObject({ exitCode: 0, stderr: "" });
    const copy = join(folder, "copy");
    expect(await runNode([main, "import", copy, "--json"], exported.stdout)).toMatchObject({ exitCode: 0, stderr: "" });
    expect((await runNode([main, "export", copy])).stdout).toBe(exported.stdout);
    expect(await runNode([main, "verify", join(folder, "nothing")])).toMatchObject({ exitCode: 5, stdout: "" });
    expect(await runNode([main, "verfy"])).toMatchObject({ exitCode: 2, stdout: "" });
  });

  it("ends quietly when its reader has seen enough", async () => {
    const path = join(temporaryFolder(), "data");
    await fullStore(path);
    const script = `
      import { spawn } from "node:child_process";
      const child = spawn(process.execPath, [${JSON.stringify(main)}, "export", ${JSON.stringify(path)}]);
      child.stdout.once("data", () => child.stdout.destroy());
      child.stderr.pipe(process.stderr);
      child.on("close", (code) => console.log(code));
    `;
    expect(await runNode(["--input-type=module", "-"], script)).toEqual({ exitCode: 0, stdout: "0\n", stderr: "" });
  });
});
