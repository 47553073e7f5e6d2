// Removes from dist what no file in src stands behind any more. tsc only ever adds, and a clean before each build
// would pull dist away from under whoever is running on it.
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

for (const entry of readdirSync(join(root, "dist"), { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const emitted = join(entry.parentPath, entry.name);
  const source = emitted.replace(join(root, "dist"), join(root, "src")).replace(/(?:\.d\.ts|\.js)(?:\.map)?$/, ".ts");
  if (source.endsWith(".map") || !existsSync(source)) rmSync(emitted);
}
