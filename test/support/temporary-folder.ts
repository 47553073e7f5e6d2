import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** A folder for the test that runs, gone once it is over. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "broker tést "));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "store");
}
