import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { root, runNode } from "./run-node.js";

const files = readdirSync(join(root, "examples"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".js"))
  .sort();

/** What an example says that it prints, in the comment that it ends with. */
function promised(source: string): string | undefined {
  return /\n\/\* Prints:\n(.*\n)\*\/\n$/s.exec(source)?.[1];
}

describe("examples", () => {
  it("are there", () => {
    expect(files).toContain("order-desk.js");
  });

  it.concurrent.each(files)("%s prints what it says, and ends by itself", async (file) => {
    const path = join(root, "examples", file);
    const output = promised(readFileSync(path, "utf8"));
    expect(output, "the example ends with a comment: /* Prints: … */").toBeDefined();
    expect(await runNode([path])).toEqual({ exitCode: 0, stdout: output, stderr: "" });
  });
});
