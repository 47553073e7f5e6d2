import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { root, runNode } from "./run-node.js";

interface Block {
  /** The heading above it. */
  readonly heading: string;
  readonly code: string;
  /** What the README says that it prints. */
  readonly output: string | undefined;
}

const readme = readFileSync(join(root, "README.md"), "utf8");

/** The lines that every block without an import of its own goes on from. */
const prelude = /<!-- prelude -->\n```js\n(.*?)```/s.exec(readme)?.[1] ?? "";
const epilogue = "\nif (broker.state === 'open') await broker.idle();\nawait broker.close();\n";

/** The README's `js` blocks, each with the `text` block that follows it under the same heading. */
function blocks(): Block[] {
  const found: Block[] = [];
  let heading = "";
  for (const [, title, language, body = ""] of readme.matchAll(/^#+ ([^\n]*)\n|^```(\w+)\n(.*?)^```\n/gms)) {
    if (title !== undefined) heading = title;
    else if (language === "js") found.push({ heading, code: body, output: undefined });
    else if (language === "text") {
      const last = found.pop();
      if (last?.heading !== heading) throw new Error(`an output without code under "${heading}"`);
      found.push({ ...last, output: body });
    }
  }
  return found.filter(({ code }) => code !== prelude);
}

describe("README.md", () => {
  it("has code that goes on from its prelude", () => {
    expect(prelude).toContain("InProcBroker.open");
  });

  it.concurrent.each(blocks())("$heading prints what it says", async ({ code, output }) => {
    expect(output, "a block has its output below it").toBeDefined();
    const script = /^import /m.test(code) ? code : `${prelude}${code}${epilogue}`;
    expect(await runNode(["--input-type=module"], script)).toEqual({ exitCode: 0, stdout: output, stderr: "" });
  });
});
