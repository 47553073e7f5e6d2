import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { root } from "./run-node.js";

const pages = [
  ...readdirSync(root).filter((name) => name.endsWith(".md")),
  ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md") && !name.startsWith("api"))
    .map((name) => join("docs", name)),
];

/** Text of a page, without its code. */
function prose(page: string): string {
  return readFileSync(join(root, page), "utf8").replace(/^```.*?^```/gms, "");
}

/** The name under which a heading can be linked to. */
function anchor(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replaceAll(" ", "-");
}

describe("docs", () => {
  it.each(pages)("%s links to what is there", (page) => {
    const missing = [...prose(page).matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].filter(
      ([, path = "", fragment]) => {
        const target = path === "" ? join(root, page) : join(root, dirname(page), path);
        if (!existsSync(target)) return true;
        if (fragment === undefined) return false;
        const headings = [...readFileSync(target, "utf8").matchAll(/^#+ (.*)$/gm)];
        return !headings.some(([, heading = ""]) => anchor(heading) === fragment);
      },
    );
    expect(missing.map(([link]) => link)).toEqual([]);
  });

  it("guarantees.md names tests that exist", () => {
    // `test/…test.ts`: "name of a test", "of another"
    const rows = [...prose("docs/guarantees.md").matchAll(/`(test\/[^`]+\.ts)`: ((?:"[^"\n]+"(?:, )?)+)/g)];
    expect(rows.length).toBeGreaterThan(0);
    const missing = rows.flatMap(([, file = "", names = ""]) => {
      const path = join(root, file);
      const source = existsSync(path) ? readFileSync(path, "utf8") : "";
      return [...names.matchAll(/"([^"]+)"/g)]
        .map(([, name = ""]) => name)
        .filter((name) => !source.includes(name))
        .map((name) => `${file}: ${name}`);
    });
    expect(missing).toEqual([]);
  });
});
