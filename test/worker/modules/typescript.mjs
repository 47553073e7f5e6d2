// @ts-check
/** A loader of TypeScript, as `--import tsx` is one: for versions of Node.js that do not strip types by themselves. */
import { register } from "node:module";

const hooks = `
  import { readFile } from "node:fs/promises";
  import { fileURLToPath } from "node:url";
  import typescript from ${JSON.stringify(import.meta.resolve("typescript"))};
  const { ModuleKind, ScriptTarget, transpileModule } = typescript;
  export async function load(url, context, next) {
    if (!url.endsWith(".ts")) return next(url, context);
    const source = await readFile(fileURLToPath(url), "utf8");
    const compilerOptions = { module: ModuleKind.ESNext, target: ScriptTarget.ES2023 };
    return { format: "module", shortCircuit: true, source: transpileModule(source, { compilerOptions }).outputText };
  }
`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
