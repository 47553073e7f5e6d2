import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";

/** The folder of the package: there, `import "inproc-broker"` means the package itself, that is, dist. */
export const root = fileURLToPath(new URL("../..", import.meta.url));

/** How a run of Node ended. */
export interface Run {
  readonly exitCode: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs Node with these arguments in the package's folder, and `script` (where there is one) on its standard input. */
export function runNode(args: readonly string[], script?: string): Promise<Run> {
  // What a test runner leaves in the environment is not what a user has.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(?:NODE|VITEST|FORCE_COLOR$|NO_COLOR$)/.test(name)),
  );
  return new Promise((resolve) => {
    const child = execFile(process.execPath, args, { cwd: root, env, timeout: 15_000 }, (error, stdout, stderr) => {
      resolve({ exitCode: error === null ? 0 : (error.code ?? error.signal ?? null), stdout, stderr });
    });
    child.stdin?.end(script);
  });
}
