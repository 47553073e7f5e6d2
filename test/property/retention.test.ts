import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StoreEngine } from "../../src/persistence/engine.js";
import type { StoreOptions } from "../../src/persistence/options.js";
import { ack, durable, pendingSeqs, publish, replayed } from "../persistence/store/fixture.js";
import { FaultyFileSystem, randomFrom } from "../support/faulty-file-system.js";
import { ManualClock } from "../support/manual-clock.js";
import { MemoryDatabase } from "../support/memory-database.js";

const topics = ["a", "a.b", "b"];

type Step =
  | { readonly kind: "publish"; readonly topic: string; readonly count: number; readonly atOnce: boolean }
  | { readonly kind: "limit"; readonly maxMessages: number }
  | { readonly kind: "subscribe" | "settle" | "checkpoint" | "compact" | "reopen" | "crash" }
  | { readonly kind: "advance"; readonly ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("publish" as const),
      topic: fc.constantFrom(...topics),
      count: fc.integer({ min: 1, max: 12 }),
      atOnce: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom("subscribe", "settle", "checkpoint", "checkpoint", "compact", "reopen", "crash"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("advance" as const), ms: fc.constantFrom(10, 600) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("limit" as const), maxMessages: fc.integer({ min: 1, max: 30 }) }),
  },
);

/** What the limits promise, with a list. */
class Model {
  messages: { readonly seq: number; readonly at: number }[] = [];
  /** What the durable has still to settle. */
  backlog: number[] | undefined;
  seq = 0;
  maxMessages = 10;
  readonly maxAge = 1000;

  add(at: number): void {
    this.messages.push({ seq: ++this.seq, at });
    this.backlog?.push(this.seq);
    this.trim();
  }

  trim(): void {
    this.messages = this.messages.slice(-this.maxMessages);
  }

  history(now: number): number[] {
    return this.messages.filter(({ at }) => at >= now - this.maxAge).map(({ seq }) => seq);
  }
}

describe("retention against a list", () => {
  it("shows exactly the newest, at every moment, and a durable what it waits for", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        let disk = new FaultyFileSystem();
        const database = new MemoryDatabase();
        const clock = new ManualClock(1_700_000_000_000);
        const model = new Model();
        const options = (): StoreOptions => ({
          path: "/store",
          blockBytes: 200,
          reserveBytes: 0,
          walBytes: 1e9,
          checkpointInterval: 1e12,
          clock,
          random: randomFrom(1),
          machine: { fileSystem: disk, openDatabase: database.open },
          retention: { maxMessages: model.maxMessages, maxAge: model.maxAge },
        });
        let store = await StoreEngine.open(options());
        const check = async (one: Step): Promise<void> => {
          const hint = JSON.stringify(one);
          expect(await replayed(store), hint).toEqual(model.history(clock.now()));
          if (model.backlog !== undefined) expect(await pendingSeqs(store, "d", 3), hint).toEqual(model.backlog);
        };
        for (const one of steps) {
          if (one.kind === "publish") {
            const operations = Array.from({ length: one.count }, () => {
              model.add(clock.now());
              return publish(model.seq, { topic: one.topic, timestamp: clock.now() });
            });
            if (one.atOnce) await store.append(operations);
            else for (const operation of operations) await store.append([operation]);
          } else if (one.kind === "subscribe") {
            // Made anew: what it had is not its own any more, and it begins with what there is of history.
            model.backlog = model.history(clock.now());
            await store.append([durable("d", [">"], 1)]);
          } else if (one.kind === "settle") {
            const settled = model.backlog?.splice(0, 3) ?? [];
            if (settled.length > 0) await store.append(settled.map((seq) => ack("d", seq)));
          } else if (one.kind === "advance") await clock.advance(one.ms);
          else if (one.kind === "checkpoint") await store.checkpoint();
          else if (one.kind === "compact") await store.compact();
          else {
            if (one.kind === "crash") disk = disk.crash({ keep: "none" });
            else await store.close();
            if (one.kind === "limit") {
              model.maxMessages = one.maxMessages;
              model.trim();
            }
            store = await StoreEngine.open(options());
            expect(store.recoveryReport).toMatchObject({ damaged: [], discrepancies: [] });
          }
          await check(one);
        }
        await store.close();
      }),
      { numRuns: process.env.LONG === "1" ? 1000 : 80 },
    );
  }, 120_000);
});
