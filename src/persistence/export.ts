import { brokerError } from "../errors.js";
import type { AppendFile } from "../platform/file-system.js";
import type { Progress } from "../platform/progress.js";
import type { ExportSelection } from "./export-lines.js";
import { StoreInspector } from "./inspect.js";
import type { InspectOptions } from "./inspect.js";
import { resolveOptions } from "./options.js";
import type { Machine } from "./options.js";
import { parentOf } from "./backup.js";
import { inOurCodes } from "./system-refusal.js";
import { writeAll } from "./wal/segment.js";

/** What of which store is exported, and where to. */
export interface ExportOptions extends InspectOptions, ExportSelection {
  /** The file to write; gzip when its name ends with `.gz`. It must not exist. */
  readonly target: string;
  /** Told of messages while they are written. Must not throw. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** What an export wrote. */
export interface ExportResult {
  /** Lines in the file. */
  readonly lines: number;
  /** Messages among them; dead letters are not counted here. */
  readonly messages: number;
  /** Of the file. */
  readonly bytes: number;
  /** Damage that was met: what could not be read is not in the file. */
  readonly problems: readonly string[];
}

const chunkBytes = 256 * 1024;

/**
 * Writes a store that is closed, broken or in use (`inUse: "read"`) into a file of JSON lines, and changes nothing about
 * it. The file has its name once it is whole.
 *
 * Rejects as `StoreInspector.open` does, with `ERR_INVALID_OPTION` when the target exists, or its folder does not, and with
 * `ERR_STORE_FULL` or `ERR_STORE_FAILED` when it cannot be written.
 *
 * @example
 * ```ts
 * import { exportStore } from "inproc-broker/persistence";
 *
 * await exportStore({ path: "./data", target: "orders.ndjson.gz", patterns: ["orders.>"] });
 * ```
 */
export async function exportStore(options: ExportOptions): Promise<ExportResult> {
  const { target, onProgress } = options;
  const { machine } = resolveOptions(options);
  const { fileSystem, folders } = machine;
  if (await folders.exists(target)) {
    throw brokerError("ERR_INVALID_OPTION", `${target} exists already: an export does not overwrite`, { target });
  }
  if (!(await folders.exists(parentOf(target)))) {
    const text = `There is no folder ${parentOf(target)} to write the export into; make it first`;
    throw brokerError("ERR_INVALID_OPTION", text, { target });
  }
  const inspector = await StoreInspector.open(options);
  const unfinished = `${target}.unfinished`;
  try {
    await fileSystem.remove(unfinished);
    const file = await fileSystem.create(unfinished);
    let result: Omit<ExportResult, "problems">;
    try {
      result = await writeLines(machine, inspector.exportLines(options), file, target.endsWith(".gz"), onProgress);
      await file.datasync();
    } finally {
      await file.close();
    }
    await fileSystem.rename(unfinished, target);
    await fileSystem.syncDirectory(parentOf(target));
    return { ...result, problems: inspector.problems };
  } catch (error) {
    await fileSystem.remove(unfinished).catch(() => undefined);
    throw inOurCodes(error, `The export ${target} was not made, and nothing is left of it`, { target });
  } finally {
    await inspector.close();
  }
}

/** With gzip each part is a member of its own: readers take a file of several members for one. */
async function writeLines(
  { gzip }: Machine,
  lines: AsyncIterable<string>,
  file: AppendFile,
  isGzip: boolean,
  onProgress: ExportOptions["onProgress"],
): Promise<Omit<ExportResult, "problems">> {
  let part: string[] = [];
  let partLength = 0;
  let count = 0;
  let messages = 0;
  const flush = async (): Promise<void> => {
    const text = Buffer.from(part.join(""), "utf8");
    const bytes = isGzip ? await gzip.compress(text) : text;
    await writeAll(file, bytes, 0, bytes.length);
    part = [];
    partLength = 0;
    onProgress?.({ done: messages, total: undefined, unit: "messages" });
  };
  for await (const line of lines) {
    part.push(line);
    partLength += line.length;
    count++;
    if (line.startsWith('{"kind":"message"')) messages++;
    if (partLength >= chunkBytes) await flush();
  }
  await flush();
  return { lines: count, messages, bytes: file.size };
}
