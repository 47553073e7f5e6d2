import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { StoreEngine } from "../../src/persistence/engine.js";
import { matchesPattern } from "../../src/topic/grammar.js";
import { ack, durable, pendingSeqs, publish, replayed } from "../persistence/store/fixture.js";
import { StoreGround } from "../support/store-ground.js";

const topics = ["a", "a.b", "a.c", "b", "b.c.d"];
const patterns = ["a", "a.*", "a.>", ">", "b.>", "*"];
const names = ["d1", "d2", "d3"];
const policies = ["limits", "interest", "work-queue", undefined] as const;
const day = 24 * 3_600_000;

type Step =
  | { readonly kind: "publish"; readonly topic: string; readonly ttl: number | undefined }
  | { readonly kind: "settle"; readonly name: string; readonly pick: number }
  | { readonly kind: "create"; readonly name: string; readonly patterns: string[]; readonly back: number }
  | { readonly kind: "delete"; readonly name: string }
  | { readonly kind: "advance"; readonly ms: number }
  | { readonly kind: "checkpoint" | "compact" | "reopen" | "crash" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("publish" as const),
      topic: fc.constantFrom(...topics),
      ttl: fc.constantFrom(undefined, undefined, 1000),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant("settle" as const), name: fc.constantFrom(...names), pick: fc.nat(50) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("create" as const),
      name: fc.constantFrom(...names),
      patterns: fc.uniqueArray(fc.constantFrom(...patterns), { minLength: 1, maxLength: 2 }),
      back: fc.nat(5),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete" as const), name: fc.constantFrom(...names) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("advance" as const), ms: fc.constantFrom(10, 600, 5000) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("checkpoint" as const, "compact" as const, "reopen" as const, "crash" as const),
    }),
  },
);

/** What a durable has to settle, and nothing else: the store's promise in a few lines. */
class Model {
  readonly messages: { seq: number; topic: string; expiresAt: number | undefined }[] = [];
  readonly durables = new Map<string, { patterns: string[]; from: number; settled: Set<number> }>();
  seq = 0;

  pending(name: string, now: number): number[] | undefined {
    const one = this.durables.get(name);
    if (one === undefined) return undefined;
    return this.messages
      .filter(({ seq, topic, expiresAt }) => {
        if (seq < one.from || one.settled.has(seq) || (expiresAt !== undefined && expiresAt <= now)) return false;
        return one.patterns.some((pattern) => matchesPattern(pattern, topic));
      })
      .map(({ seq }) => seq);
  }
}

describe("the store against a model", () => {
  it.each(policies)(
    "hands out what is to be settled, whatever happens between (retention: %s)",
    async (policy) => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
          const ground = new StoreGround();
          const { clock } = ground;
          const model = new Model();
          const retention = policy === undefined ? undefined : { policy, maxAge: 100 * day };
          let store = await ground.open(retention);
          for (const one of steps) {
            if (one.kind === "publish") {
              const seq = ++model.seq;
              const expiresAt = one.ttl === undefined ? undefined : clock.now() + one.ttl;
              model.messages.push({ seq, topic: one.topic, expiresAt });
              await store.append([publish(seq, { topic: one.topic, timestamp: clock.now(), expiresAt })]);
            } else if (one.kind === "settle") {
              const pending = model.pending(one.name, clock.now()) ?? [];
              const seq = pending[one.pick % Math.max(1, pending.length)];
              if (seq === undefined) continue;
              model.durables.get(one.name)?.settled.add(seq);
              // A work queue's message is settled for all when one has settled it.
              if (policy === "work-queue") for (const other of model.durables.values()) other.settled.add(seq);
              await store.append([ack(one.name, seq)]);
            } else if (one.kind === "create") {
              // Behind what is there: what came before may be gone already, unless history keeps it.
              const from = policy === "limits" ? Math.max(1, model.seq + 1 - one.back) : model.seq + 1;
              model.durables.set(one.name, { patterns: one.patterns, from, settled: new Set() });
              await store.append([durable(one.name, one.patterns, from)]);
            } else if (one.kind === "delete") {
              model.durables.delete(one.name);
              await store.append([{ type: "durable", change: "deleted", name: one.name, patterns: [], position: 0 }]);
            } else if (one.kind === "advance") await clock.advance(one.ms);
            else if (one.kind === "checkpoint") await store.checkpoint();
            else if (one.kind === "compact") await store.compact();
            else {
              await ground.end(one.kind === "crash");
              store = await ground.open(retention);
            }
            if (one.kind === "publish" || one.kind === "settle") continue;
            await compare(store, model, clock.now(), policy);
          }
          await compare(store, model, clock.now(), policy);
          await store.close();
        }),
        { numRuns: process.env.LONG === "1" ? 1000 : 60 },
      );
    },
    120_000,
  );
});

async function compare(
  store: StoreEngine,
  model: Model,
  now: number,
  policy: (typeof policies)[number],
): Promise<void> {
  for (const name of names) {
    const expected = model.pending(name, now);
    const found = await pendingSeqs(store, name, 3).catch(() => undefined);
    expect(found, name).toEqual(expected);
  }
  const history = await replayed(store);
  const wanted = new Set(names.flatMap((name) => model.pending(name, now) ?? []));
  if (policy === "interest") expect(history).toEqual([...wanted].sort((a, b) => a - b));
  if (policy === "limits") {
    const alive = model.messages.filter(({ expiresAt }) => expiresAt === undefined || expiresAt > now);
    expect(history).toEqual(alive.map(({ seq }) => seq));
  }
  for (const seq of wanted) expect(history).toContain(seq);
}
