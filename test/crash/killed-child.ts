import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import ts from "typescript";
import { root } from "../examples/run-node.js";

/**
 * Writes a child and the sources that it imports as JavaScript into a folder, and returns where the child is: a child of the
 * parts below the package's doors cannot run on `dist`, which has no tests.
 *
 * @param child - from the root of the repository
 * @param parts - the folders of `src/` whose files it needs
 */
export function compileChild(child: string, parts: readonly string[], folder: string): string {
  const sources = ["src/errors.ts", child];
  for (const part of parts) {
    for (const name of fs.readdirSync(join(root, "src", part))) {
      if (name.endsWith(".ts")) sources.push(`src/${part}/${name}`);
    }
  }
  for (const source of sources) {
    const to = join(folder, source.replace(/\.ts$/, ".js"));
    fs.mkdirSync(dirname(to), { recursive: true });
    const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023, verbatimModuleSyntax: true };
    const { outputText } = ts.transpileModule(fs.readFileSync(join(root, source), "utf8"), {
      compilerOptions: options,
    });
    fs.writeFileSync(to, outputText);
  }
  fs.writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  fs.symlinkSync(fs.realpathSync(join(root, "node_modules")), join(folder, "node_modules"));
  return join(folder, child.replace(/\.ts$/, ".js"));
}

/** Runs Node.js until it has said more than so many lines, kills it with SIGKILL, and gives the whole lines that it said. */
export function runAndKill(args: readonly string[], lineCount: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const running = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    let lines = 0;
    running.stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      lines += part.split("\n").length - 1;
      if (lines > lineCount) running.kill("SIGKILL");
    });
    running.on("error", reject);
    running.on("close", (code) => {
      if (code !== null) reject(new Error(`the child ended by itself, with ${code}: ${text}`));
      else resolve(text.slice(0, text.lastIndexOf("\n")).split("\n"));
    });
  });
}
