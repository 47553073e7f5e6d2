import { InvalidArgumentError } from "../index.js";
import type { Random } from "../platform/random.js";
import type { Duration } from "./duration.js";
import { durationMs } from "./duration.js";
import type { FaultHandle, Share } from "./fault-handle.js";
import { InjectedFault } from "./injected-fault.js";
import { seededRandom } from "./seeded-random.js";

/** What may happen to the store's files. */
export interface StoreFault {
  /**
   * A write to a file is done in part, and fails (`EIO`). A failed write or sync is final: the store takes nothing any more,
   * with `ERR_STORE_FAILED`, until `t.restart()`.
   */
  readonly failWrite?: Share | undefined;
  /** A sync of a file fails (`EIO`), and what was not on the disk will never be. */
  readonly failSync?: Share | undefined;
  /** A write of the database, which a checkpoint makes, fails. The store tries it again. Not while it is opened or closed. */
  readonly failCheckpoint?: Share | undefined;
  /**
   * In the middle of the n-th write to a file from now on (1: the next one) the power goes, as by `t.crash({ lose: "nothing" })`: a part of
   * that write is on the disk, the rest and everything after it are not, and `t.restart()` finds a torn end. `"random"`: one of the
   * next ten writes. Which one, and how much of it, is drawn from the seed. It strikes once.
   */
  readonly tearWriteAt?: number | "random" | undefined;
  /** For each of the three shares: so many go well before the first that fails; default 0. `{ failSync: 1, after: 2 }`: the third fails. */
  readonly after?: number | undefined;
  /** The disk is full (`ENOSPC`), until this fault is stopped. What the store removes makes room. */
  readonly full?: boolean | undefined;
  /** Every write and sync takes this much longer, by the broker's clock; not while the store is opened or closed. */
  readonly slow?: Duration | undefined;
}

/** What a write or a sync of a file, or a write of the database, runs into. */
export type StoreOperation = "failWrite" | "failSync" | "failCheckpoint";

const shares: readonly StoreOperation[] = ["failWrite", "failSync", "failCheckpoint"];
const known = [...shares, "tearWriteAt", "after", "full", "slow"];
/** Of so many writes one is torn at random. */
const randomWrites = 10;

interface Rule extends FaultHandle {
  readonly fault: StoreFault;
  count: number;
  /** What still passes, and what is then left, of each share. */
  readonly left: Record<StoreOperation, { passing: number; striking: number }>;
  /** Writes until one is torn, it included; Infinity: none is. */
  untilTear: number;
}

/** The faults of a store's disk that are in force. */
export class StoreFaults {
  readonly #seed: number;
  readonly #rules = new Set<Rule>();
  #random: Random;
  /** Bytes that a full disk has room for, because something was removed. */
  #room = 0;

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = seededRandom(seed);
  }

  get isEmpty(): boolean {
    return this.#rules.size === 0;
  }

  get isFull(): boolean {
    for (const { fault } of this.#rules) if (fault.full === true) return true;
    return false;
  }

  add(fault: StoreFault): FaultHandle {
    for (const [name, value] of Object.entries(fault)) check(name, value);
    const { after = 0 } = fault;
    const left = Object.fromEntries(
      shares.map((name) => [name, { passing: after, striking: fault[name] ?? 0 }]),
    ) as Rule["left"];
    const { tearWriteAt: tear = Infinity } = fault;
    const untilTear = tear === "random" ? 1 + Math.floor(this.#random() * randomWrites) : tear;
    const rule: Rule = { fault, left, untilTear, count: 0, stop: () => void this.#rules.delete(rule) };
    if (fault.full === true && !this.isFull) this.#room = 0;
    this.#rules.add(rule);
    return rule;
  }

  clear(): void {
    this.#rules.clear();
    this.#random = seededRandom(this.#seed);
  }

  /** What the operation fails with; undefined: it does not. */
  failure(operation: StoreOperation, path: string): Error | undefined {
    for (const rule of this.#rules) {
      const left = rule.left[operation];
      if (left.striking === 0) continue;
      if (left.passing > 0) {
        left.passing -= 1;
        continue;
      }
      if (left.striking < 1) {
        if (this.#random() >= left.striking) continue;
      } else left.striking -= 1;
      rule.count += 1;
      return systemError("EIO", `injected fault: ${words[operation]} of ${path} fails`);
    }
    return undefined;
  }

  /** Counts a write; true where the power goes in the middle of it. */
  isTorn(): boolean {
    let isTorn = false;
    for (const rule of this.#rules) {
      rule.untilTear -= 1;
      if (rule.untilTear !== 0) continue;
      rule.count += 1;
      isTorn = true;
    }
    return isTorn;
  }

  /** Milliseconds that a write or a sync takes longer. */
  delay(): number {
    let ms = 0;
    for (const rule of this.#rules) {
      if (rule.fault.slow === undefined) continue;
      rule.count += 1;
      ms += durationMs("slow", rule.fault.slow);
    }
    return ms;
  }

  /** How many bytes of a write a failing disk still takes. */
  part(bytes: number): number {
    return Math.floor(bytes * this.#random());
  }

  /** Takes room on the disk: how many of the bytes there is room for. Throws `ENOSPC` where there is none. */
  take(bytes: number, path: string): number {
    if (!this.isFull) return bytes;
    const taken = Math.min(bytes, this.#room);
    this.#room -= taken;
    if (taken > 0) return taken;
    for (const rule of this.#rules) if (rule.fault.full === true) rule.count += 1;
    throw systemError("ENOSPC", `injected fault: there is no room for ${path}`);
  }

  /** Something was removed. */
  give(bytes: number): void {
    this.#room += bytes;
  }

  /** Room on the disk, given how much there would be otherwise. */
  free(bytes: number): number {
    return this.isFull ? this.#room : bytes;
  }
}

const words = { failWrite: "this write", failSync: "this sync", failCheckpoint: "this checkpoint" };

function systemError(code: string, text: string): Error {
  return Object.assign(new InjectedFault(text), { code });
}

function check(name: string, value: unknown): void {
  if (!known.includes(name)) throw invalid(`there is no fault ${JSON.stringify(name)}; known are ${known.join(", ")}`);
  if (value === undefined) return;
  if (name === "slow") durationMs("slow", value as Duration);
  else if (name === "full") {
    if (typeof value !== "boolean") throw invalid(`full must be true or false; got ${show(value)}`);
  } else if (name === "tearWriteAt") {
    if (value !== "random" && !(Number.isInteger(value) && (value as number) >= 1))
      throw invalid(`tearWriteAt must be "random", or which write from 1 on; got ${show(value)}`);
  } else if (typeof value !== "number" || !(value >= 0)) {
    throw invalid(
      name === "after"
        ? `after must be a number of operations; got ${show(value)}`
        : `${name} must be a probability below 1, or how many from 1; got ${show(value)}`,
    );
  }
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? typeof value;
}

function invalid(text: string): Error {
  return new InvalidArgumentError("ERR_INVALID_OPTION", text, { facts: { option: "fault" } });
}
