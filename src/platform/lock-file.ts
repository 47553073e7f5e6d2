/**
 * A lock file that names its holder, so that the second process can be told who is in the way.
 *
 * It guards against people's mistakes, not against two machines on one network share: the database beside it
 * has a lock of the operating system.
 */
import * as fs from "node:fs";
import { hostname } from "node:os";
import { brokerError } from "../errors.js";

/** Who holds a lock. */
export interface LockHolder {
  /** The process's id. */
  readonly pid: number;
  /** The name of its machine. */
  readonly host: string;
}

/** The outcome of asking for a lock: it is ours until `release`, or somebody else's. */
export type LockResult =
  { readonly acquired: true; release(): Promise<void> } | { readonly acquired: false; readonly holder: LockHolder };

/** The content of a lock file, as JSON. `started` tells a process from a later one with the same id, where known. */
interface LockContent extends LockHolder {
  readonly started: string;
}

/** Locks of this process: it is alive, so the file alone would not tell its own lock from one of a dead namesake. */
const held = new Set<string>();

/** The `code` of a failed system call, or undefined for anything else that was thrown. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** Takes the lock at `path`, clearing one whose holder is gone. The folder must exist. */
export function takeLock(path: string): Promise<LockResult> {
  return new Promise((resolve) => {
    resolve(take(path)); // a throw becomes a rejection
  });
}

/** Who holds the lock at `path`; undefined when nobody does, or who did is gone. */
export function lockHolder(path: string): LockHolder | undefined {
  const text = readText(path);
  const holder = text === undefined ? undefined : parseLock(text);
  const isHeld = holder !== undefined && (isAlive(holder) || held.has(lockIdentity(path)));
  return isHeld ? { pid: holder.pid, host: holder.host } : undefined;
}

function take(path: string): LockResult {
  const identity = lockIdentity(path);
  const us: LockContent = { pid: process.pid, host: hostname(), started: processStart(process.pid) };
  if (held.has(identity)) return { acquired: false, holder: { pid: us.pid, host: us.host } };
  for (let attempt = 0; attempt < 10; attempt++) {
    const made = tryToCreateLock(path, us);
    if (made === true) {
      held.add(identity);
      return { acquired: true, release: () => release(path, identity) };
    }
    const text = readText(path);
    const holder = text === undefined ? undefined : parseLock(text);
    if (holder !== undefined && isAlive(holder)) {
      return { acquired: false, holder: { pid: holder.pid, host: holder.host } };
    }
    // A full disk, and nobody who has the lock.
    if (made !== false) throw made;
    if (text !== undefined) clearLock(path, text);
  }
  const text = `The lock file ${path} cannot be cleared, or comes back each time; remove it if no process uses the folder`;
  throw brokerError("ERR_STORE_FAILED", text, { path });
}

/** One name for a lock however its folder was reached (a link, a relative path). */
function lockIdentity(path: string): string {
  const cut = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"));
  return `${fs.realpathSync(cut > 0 ? path.slice(0, cut) : ".")}/${path.slice(cut + 1)}`;
}

/** True when it was made, false when there is one; an error, for instance where the disk has no room for it. */
function tryToCreateLock(path: string, content: LockContent): boolean | Error {
  try {
    return createLock(path, content);
  } catch (error) {
    return error as Error;
  }
}

/** Creates the lock with its content in one step, so that no one ever reads half of it. False when it exists. */
function createLock(path: string, content: LockContent): boolean {
  const draft = `${path}.${content.pid}`;
  try {
    fs.writeFileSync(draft, JSON.stringify(content));
    fs.linkSync(draft, path);
    return true;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === "EEXIST") return false;
    // A file system without hard links: created first, filled second.
    if (code === "EPERM" || code === "ENOTSUP" || code === "ENOSYS") return createInTwoSteps(path, content);
    throw error;
  } finally {
    fs.rmSync(draft, { force: true });
  }
}

function createInTwoSteps(path: string, content: LockContent): boolean {
  try {
    fs.writeFileSync(path, JSON.stringify(content), { flag: "wx" });
    return true;
  } catch (error) {
    if (systemErrorCode(error) === "EEXIST") return false;
    throw error;
  }
}

/** Removes a dead lock; when another process replaced it meanwhile, its lock is put back. */
function clearLock(path: string, deadText: string): void {
  const aside = `${path}.dead.${process.pid}`;
  try {
    fs.renameSync(path, aside);
    if (readText(aside) !== deadText) fs.linkSync(aside, path);
  } catch {
    // Somebody else clears it too; the next attempt sees who won.
  }
  fs.rmSync(aside, { force: true });
}

function readText(path: string): string | undefined {
  try {
    return fs.readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** The holder that a lock file names, or undefined when it names none. */
function parseLock(text: string): LockContent | undefined {
  try {
    const content = JSON.parse(text) as Partial<LockContent> | null;
    if (typeof content?.pid !== "number" || !Number.isSafeInteger(content.pid) || content.pid <= 0) return undefined;
    return { pid: content.pid, host: content.host ?? "", started: content.started ?? "" };
  } catch {
    return undefined;
  }
}

/**
 * Whether the holder still runs. Ids are used again (in a container the first process always has the same
 * one), so where the system tells when a process started, that has to agree as well.
 */
function isAlive(holder: LockContent): boolean {
  const started = processStart(holder.pid);
  if (started !== "" && holder.started !== "") return started === holder.started;
  if (holder.pid === process.pid) return false; // ours would be in `held`
  try {
    process.kill(holder.pid, 0);
    return true;
  } catch (error) {
    return systemErrorCode(error) === "EPERM";
  }
}

/** When a process started, as a text that no later process with its id has; empty where the system does not tell. */
function processStart(pid: number): string {
  try {
    const boot = fs.readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
    // Field 22; the second field is the program's name in brackets and may hold anything.
    return `${boot} ${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? ""}`;
  } catch {
    return "";
  }
}

async function release(path: string, identity: string): Promise<void> {
  if (!held.delete(identity)) return;
  await fs.promises.rm(path, { force: true });
}
