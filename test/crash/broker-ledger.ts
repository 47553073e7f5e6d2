import { expect } from "vitest";
import type { DeadLetter, Message } from "inproc-broker";

/** What a broker has after a crash. */
export interface Found {
  readonly first: readonly Message[];
  readonly second: readonly Message[];
  readonly results: readonly Message[];
  readonly batches: readonly Message[];
  readonly dead: readonly DeadLetter[];
  /** The number of the message by topic. */
  readonly retained: ReadonlyMap<string, number>;
}

type DurableName = "first" | "second";

/** What was said to be there. */
interface Published {
  readonly seq: number;
  /** With the level `memory`: a crash may take it, together with everything after it. */
  readonly isLoose: boolean;
}

/** What a process that was killed said it asked for, and what was acknowledged, over all rounds. */
export class Ledger {
  readonly #published = new Map<string, Published>();
  readonly #asked = new Set<string>();
  readonly #brief = new Set<string>();
  readonly #dedup = new Map<string, number>();
  readonly #settled = { first: new Set<string>(), second: new Set<string>() };
  readonly #askedSettle = { first: new Set<string>(), second: new Set<string>() };
  readonly #rejected = new Set<string>();
  readonly #askedReject = new Set<string>();
  readonly #committed = new Set<string>();
  readonly #askedCommit = new Set<string>();
  readonly #batches = new Set<string>();
  #batchCount = 0;
  readonly #retained = new Map<string, number>();
  /** Results that were taken, and dead letters that were thrown away, after a crash. */
  readonly #taken = new Set<string>();
  readonly #purged = new Set<string>();
  /** Of the level `memory`, with a settle that was asked for and not acknowledged: a crash may have taken both. */
  #unsure = new Set<string>();
  #count = 0;

  /** @param isLoose the store's own level is `memory`: of settles, only what was flushed is kept for sure */
  take(lines: readonly string[], isLoose: boolean, hint: string): void {
    const flushes = new Map<string, number>();
    let flushed = 0;
    lines.forEach((line, at) => {
      const [word, number = ""] = line.split(" ");
      if (word === "flush-begin") flushes.set(number, at);
      if (word === "flush-end") flushed = Math.max(flushed, flushes.get(number) ?? 0);
    });
    lines.forEach((line, at) => this.#takeLine(line, at < flushed, !isLoose || at < flushed, hint));
  }

  #takeLine(line: string, isFlushed: boolean, isSure: boolean, hint: string): void {
    const [word = "", one = "", two = "", three = ""] = line.split(" ");
    const durable = one as DurableName;
    this.#count += 1;
    if (word === "wrong") expect.fail(`${hint}: ${line}`);
    if (word === "ask-publish") this.#asked.add(one);
    if (word === "ask-brief") this.#brief.add(one);
    if (word === "ask-settle") this.#askedSettle[durable].add(two);
    if (word === "ask-reject") this.#askedReject.add(one);
    if (word === "ask-commit") this.#askedCommit.add(one);
    if (word === "published" || word === "delayed" || word === "dedup") {
      this.#published.set(one, { seq: Number(two), isLoose: three === "memory" && !isFlushed });
      if (word === "dedup" && three !== "memory") this.#dedup.set(one, Number(two));
    }
    if (!isSure) return;
    if (word === "settled") this.#settled[durable].add(two);
    if (word === "rejected") this.#rejected.add(two);
    if (word === "committed") this.#committed.add(two);
    if (word === "batch") this.#batches.add(one);
    if (word === "retained") this.#retained.set(one, Math.max(this.#retained.get(one) ?? 0, Number(two)));
  }

  settledHere(durable: DurableName, id: string): void {
    this.#settled[durable].add(id);
  }

  purged(ids: readonly string[]): void {
    for (const id of ids) this.#purged.add(id);
  }

  /** Some of the latest dedup ids that were acknowledged, with the number of their message. */
  someDedup(): (readonly [string, number])[] {
    return [...this.#dedup].slice(-10);
  }

  compare(found: Found, hint: string): void {
    this.#compareOrder(found, hint);
    this.#compareSettled(found, hint);
    this.#comparePublished(found, hint);
    this.#compareTransactions(found, hint);
    this.#compareDead(found, hint);
    this.#compareBatches(found, hint);
    for (const [topic, seq] of this.#retained) {
      expect(found.retained.get(topic) ?? 0, `${hint}: retained, and gone: ${topic}`).toBeGreaterThanOrEqual(seq);
    }
  }

  /** There was something to compare. */
  requireUse(): void {
    const { first, second } = this.#settled;
    const sizes = [this.#published, first, second, this.#rejected, this.#committed, this.#retained, this.#dedup];
    for (const { size } of sizes) expect(size).toBeGreaterThan(0);
    expect(this.#batchCount).toBeGreaterThan(0);
    expect(this.#count).toBeGreaterThan(1_000);
  }

  #compareOrder({ first, second, results, batches }: Found, hint: string): void {
    for (const messages of [first, second, results, batches]) {
      const seqs = messages.map(({ seq }) => seq);
      expect(seqs, `${hint}: once, and in order`).toEqual([...new Set(seqs)].sort((a, b) => a - b));
      const ids = messages.map(({ id }) => id);
      expect(new Set(ids).size, `${hint}: each once`).toBe(ids.length);
    }
  }

  #compareSettled(found: Found, hint: string): void {
    for (const durable of ["first", "second"] as const) {
      const again = found[durable].filter(({ id }) => this.#settled[durable].has(id)).map(({ id }) => id);
      expect(again, `${hint}: settled for ${durable}, and there again`).toEqual([]);
    }
  }

  #comparePublished(found: Found, hint: string): void {
    const firstIds = idsOf(found.first);
    const secondIds = idsOf(found.second);
    for (const id of [...firstIds, ...secondIds]) {
      expect(this.#brief.has(id), `${hint}: expired, and handed out: ${id}`).toBe(false);
      expect(this.#asked.has(id), `${hint}: nobody published ${id}`).toBe(true);
    }
    const dead = new Set(found.dead.map(({ message }) => message.id));
    const lost: { id: string; seq: number; isLoose: boolean }[] = [];
    let lastSure = 0;
    this.#unsure = new Set();
    for (const [id, { seq, isLoose }] of this.#published) {
      const isInSecond = secondIds.has(id) || this.#settled.second.has(id) || this.#askedSettle.second.has(id);
      const isInFirst =
        firstIds.has(id) ||
        this.#settled.first.has(id) ||
        this.#askedSettle.first.has(id) ||
        this.#askedCommit.has(id) ||
        (this.#askedReject.has(id) && (dead.has(id) || this.#purged.has(id)));
      if (isInFirst && isInSecond) {
        if (!isLoose) lastSure = Math.max(lastSure, seq);
        else if (!firstIds.has(id)) this.#unsure.add(id);
      } else lost.push({ id, seq, isLoose });
    }
    expect(
      lost.filter(({ isLoose }) => !isLoose),
      `${hint}: acknowledged, and gone`,
    ).toEqual([]);
    expect(
      lost.filter(({ seq }) => seq < lastSure),
      `${hint}: lost, and not from the tail`,
    ).toEqual([]);
    // What a crash took is gone for good; what it left is as sure as everything else.
    for (const { id } of lost) this.#published.delete(id);
    for (const [id, { seq }] of this.#published) this.#published.set(id, { seq, isLoose: false });
  }

  #compareTransactions({ first, results }: Found, hint: string): void {
    const parts = new Map<string, number>();
    for (const { data } of results) {
      const { of } = data as { of: string };
      expect(of, `${hint}: rolled back, and there`).not.toBe("rolled back");
      parts.set(of, (parts.get(of) ?? 0) + 1);
    }
    const left = idsOf(first);
    for (const [id, count] of parts) {
      expect(count, `${hint}: half a transaction: ${id}`).toBe(2);
      expect(left.has(id), `${hint}: committed, and there again: ${id}`).toBe(false);
      expect(this.#taken.has(id), `${hint}: committed twice: ${id}`).toBe(false);
      this.#taken.add(id);
    }
    for (const id of this.#committed) expect(this.#taken.has(id), `${hint}: committed, and gone: ${id}`).toBe(true);
    for (const id of this.#askedCommit) {
      if (!this.#published.has(id) || this.#settled.first.has(id)) continue;
      if (this.#unsure.has(id) && !this.#taken.has(id)) {
        this.#published.delete(id);
        continue;
      }
      expect(left.has(id) !== this.#taken.has(id), `${hint}: neither there nor done, or both: ${id}`).toBe(true);
    }
  }

  #compareDead({ first, dead }: Found, hint: string): void {
    const left = idsOf(first);
    const ids = dead.map(({ message }) => message.id);
    expect(new Set(ids).size, `${hint}: a dead letter twice`).toBe(ids.length);
    for (const letter of dead) {
      const { id } = letter.message;
      expect(letter, hint).toMatchObject({ reason: "rejected", error: "no good", subscription: "first" });
      expect(left.has(id), `${hint}: dead, and there again: ${id}`).toBe(false);
      expect(this.#purged.has(id), `${hint}: thrown away, and there again: ${id}`).toBe(false);
    }
    const isDead = new Set(ids);
    for (const id of this.#rejected) {
      expect(isDead.has(id) || this.#purged.has(id), `${hint}: rejected, and gone: ${id}`).toBe(true);
    }
  }

  #compareBatches({ batches }: Found, hint: string): void {
    const parts = new Map<string, number>();
    for (const { data } of batches) {
      const { name } = data as { name: string };
      parts.set(name, (parts.get(name) ?? 0) + 1);
    }
    for (const [name, count] of parts) expect(count, `${hint}: half a batch: ${name}`).toBe(3);
    for (const name of this.#batches) expect(parts.has(name), `${hint}: a batch, and gone: ${name}`).toBe(true);
    this.#batchCount += this.#batches.size;
    this.#batches.clear();
  }
}

function idsOf(messages: readonly Message[]): Set<string> {
  return new Set(messages.map(({ id }) => id));
}
