/** Doing what a scan of the log found to be necessary, so that the log can be written again. */
import type { FileSystem } from "../../platform/file-system.js";
import type { Cut, DamagedRange, LogScan } from "./recovery.js";
import { copyPart } from "./segment.js";

/** How much the quarantine may hold. What is beyond it is not copied, and the report says so. */
export interface QuarantineLimits {
  readonly maxBytes: number;
  readonly maxFiles: number;
}

const quarantineName = "quarantine";

/** A damaged range, and where its bytes are kept. */
export interface QuarantinedRange extends DamagedRange {
  /** The copy's path inside the log's directory; absent when there were no bytes or no room. */
  readonly copy: string | undefined;
  /** False when an earlier opening reported it already: it stays in the log until a checkpoint removes the segment. */
  readonly isNew: boolean;
}

export interface RepairResult {
  readonly quarantined: readonly QuarantinedRange[];
  readonly warnings: readonly string[];
}

/**
 * Sets damaged bytes aside, cuts what has to be cut, and removes what unfinished rotations left. Nothing is
 * cut before its copy is on the disk. A copy that cannot be made is a warning; a cut that cannot be made rejects.
 */
export async function repairLog(
  fileSystem: FileSystem,
  directory: string,
  scan: LogScan,
  limits: QuarantineLimits,
): Promise<RepairResult> {
  const warnings: string[] = [];
  const quarantine = new Quarantine(fileSystem, directory, limits, warnings);
  const quarantined: QuarantinedRange[] = [];
  for (const range of scan.damage) {
    const isCut = scan.cut?.file === range.file && scan.cut.offset === range.offset;
    if (range.bytes === 0 || isCut) quarantined.push({ ...range, copy: undefined, isNew: true });
    else quarantined.push({ ...range, ...(await quarantine.copy(range.file, range.offset, range.bytes)) });
  }
  if (scan.cut !== undefined) await cut(fileSystem, directory, scan.cut, quarantine);
  for (const { name, bytes } of scan.beyond) await quarantine.move(name, bytes);
  for (const name of scan.leftovers) await fileSystem.remove(`${directory}/${name}`);
  if (scan.beyond.length > 0) await fileSystem.syncDirectory(directory);
  return { quarantined, warnings };
}

/** Cuts the end off a segment. A write that was merely cut short is not worth a copy. */
async function cut(fileSystem: FileSystem, directory: string, cut: Cut, quarantine: Quarantine): Promise<void> {
  if (cut.reason !== "torn") await quarantine.copy(cut.file, cut.offset, cut.bytes);
  const file = await fileSystem.openForAppend(`${directory}/${cut.file}`);
  try {
    await file.truncate(cut.offset);
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** The folder for damaged bytes: bounded, and never emptied by the broker. */
export class Quarantine {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #limits: QuarantineLimits;
  readonly #warnings: string[];
  #held: Map<string, number> | undefined;

  constructor(fileSystem: FileSystem, directory: string, limits: QuarantineLimits, warnings: string[]) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
    this.#limits = limits;
    this.#warnings = warnings;
  }

  /** Copies a part of a file, unless an earlier opening has done so. */
  async copy(file: string, offset: number, bytes: number): Promise<{ copy: string | undefined; isNew: boolean }> {
    const name = `${file}@${offset}+${bytes}`;
    const copy = `${quarantineName}/${name}`;
    try {
      const held = await this.#open();
      if (held.get(name) === bytes) return { copy, isNew: false };
      if (!this.#hasRoom(held, bytes, name)) return { copy: undefined, isNew: true };
      await this.#copyBytes(file, offset, bytes, name);
      held.set(name, bytes);
      return { copy, isNew: true };
    } catch (error) {
      this.#warnings.push(`${name} could not be copied to the quarantine: ${String(error)}`);
      return { copy: undefined, isNew: true };
    }
  }

  /** Moves a whole segment; removes it when there is no room, since it must not stay in the log. */
  async move(name: string, bytes: number): Promise<void> {
    const from = `${this.#directory}/${name}`;
    const held = await this.#open();
    if (!this.#hasRoom(held, bytes, name)) {
      await this.#fileSystem.remove(from);
      this.#warnings.push(`${name} was removed: it lies behind the end of the log`);
      return;
    }
    await this.#fileSystem.rename(from, `${this.#path}/${name}`);
    await this.#fileSystem.syncDirectory(this.#path);
    held.set(name, bytes);
  }

  get #path(): string {
    return `${this.#directory}/${quarantineName}`;
  }

  #hasRoom(held: ReadonlyMap<string, number>, bytes: number, name: string): boolean {
    const { maxBytes, maxFiles } = this.#limits;
    let total = bytes;
    for (const size of held.values()) total += size;
    if (held.size < maxFiles && total <= maxBytes) return true;
    this.#warnings.push(
      `${name} (${bytes} bytes) was not kept: the quarantine is limited to ${maxBytes} bytes in ${maxFiles} files; look at what it holds, and empty it`,
    );
    return false;
  }

  /** What the folder holds, by name. Made when first needed. */
  async #open(): Promise<Map<string, number>> {
    if (this.#held !== undefined) return this.#held;
    await this.#fileSystem.makeDirectory(this.#path);
    const held = new Map<string, number>();
    for (const name of await this.#fileSystem.list(this.#path)) {
      held.set(name, (await this.#fileSystem.stat(`${this.#path}/${name}`))?.size ?? 0);
    }
    this.#held = held;
    return held;
  }

  async #copyBytes(file: string, offset: number, bytes: number, name: string): Promise<void> {
    const to = `${this.#path}/${name}`;
    await this.#fileSystem.remove(to);
    await copyPart(this.#fileSystem, `${this.#directory}/${file}`, to, offset, bytes);
    await this.#fileSystem.syncDirectory(this.#path);
  }
}
