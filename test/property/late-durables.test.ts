import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { StoreEngine } from "../../src/persistence/engine.js";
import type { StoreOperation } from "../../src/persistence/operations.js";
import { ack, pendingSeqs, publish, replayed } from "../persistence/store/fixture.js";
import { StoreGround } from "../support/store-ground.js";

const names = ["d1", "d2", "reader"];
const patterns = ["a", "a.*", ">", "b"];
const topics = ["a", "a.b", "b"];
const day = 24 * 3_600_000;
// One limit of age, that of the default: how soon what is too old is removed under another one depends on checkpoints.
const retentions = [
  undefined,
  { policy: "interest" },
  { policy: "work-queue", maxAge: 7 * day },
  { policy: "limits", maxAge: 7 * day },
] as const;
type Retention = (typeof retentions)[number];

type Step =
  | { readonly kind: "publish"; readonly topic: string }
  | { readonly kind: "settle"; readonly name: string; readonly pick: number }
  | { readonly kind: "create"; readonly name: string; readonly patterns: string[]; readonly position: number }
  | { readonly kind: "change"; readonly name: string; readonly patterns: string[] }
  | { readonly kind: "delete"; readonly name: string }
  | { readonly kind: "days"; readonly count: number }
  | { readonly kind: "retention"; readonly to: Retention }
  | { readonly kind: "between"; readonly what: "checkpoint" | "compact" | "reopen" | "crash" };

const name = fc.constantFrom(...names);
const some = fc.uniqueArray(fc.constantFrom(...patterns), { minLength: 1, maxLength: 2 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("publish" as const), topic: fc.constantFrom(...topics) }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("settle" as const), name, pick: fc.nat(20) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("create" as const),
      name,
      patterns: some,
      position: fc.oneof(fc.constant(1), fc.nat(30)),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("change" as const), name, patterns: some }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("delete" as const), name }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("days" as const), count: fc.integer({ min: 1, max: 8 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("retention" as const), to: fc.constantFrom(...retentions) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("between" as const),
      what: fc.constantFrom("checkpoint" as const, "compact" as const, "reopen" as const, "crash" as const),
    }),
  },
);

/** What anybody can see of a store: each durable's backlog, and history. */
async function seen(store: StoreEngine): Promise<Record<string, readonly number[] | undefined>> {
  const found: Record<string, readonly number[] | undefined> = { history: await replayed(store) };
  for (const one of names) found[one] = await pendingSeqs(store, one, 3).catch(() => undefined);
  return found;
}

function operationOf(one: Step, seq: number, pending: readonly number[], now: number): StoreOperation | undefined {
  switch (one.kind) {
    case "publish":
      return publish(seq, { topic: one.topic, timestamp: now });
    case "settle": {
      const picked = pending[one.pick % Math.max(1, pending.length)];
      return picked === undefined ? undefined : ack(one.name, picked);
    }
    case "create": {
      const options = one.name === "reader" ? { isReader: true } : null;
      const { patterns: asked } = one;
      // As the broker has it: none begins behind the next message.
      const position = Math.min(one.position, seq);
      return { type: "durable", change: "created", name: one.name, patterns: asked, position, options };
    }
    case "change":
      return { type: "durable", change: "changed", name: one.name, patterns: one.patterns, position: seq };
    case "delete":
      return { type: "durable", change: "deleted", name: one.name, patterns: [], position: 0 };
    default:
      return undefined;
  }
}

/** Too old for what was, and for the durable that asked for it then; and nothing is too old any more. */
const pastItsAge: Step[] = [
  { kind: "publish", topic: "a.b" },
  { kind: "days", count: 8 },
  { kind: "between", what: "checkpoint" },
  { kind: "create", name: "d1", patterns: ["a.*"], position: 1 },
  { kind: "retention", to: { policy: "interest" } },
  { kind: "delete", name: "d1" },
];

describe("a durable that begins in the past", () => {
  it.each(retentions)(
    "gets the same whenever checkpoints, restarts and crashes come (retention at first: %j)",
    async (retention) => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 50 }), async (steps) => {
          const plain = new StoreGround();
          const busy = new StoreGround();
          for (const ground of [plain, busy]) await ground.open(retention);
          let inForce: Retention = retention;
          let lastSeq = 0;
          let durables = new Set<string>();
          for (const one of steps) {
            if (one.kind === "between") {
              if (one.what === "checkpoint") await busy.store.checkpoint();
              else if (one.what === "compact") await busy.store.compact();
              else {
                await busy.end(one.what === "crash");
                await busy.open(inForce);
              }
            } else if (one.kind === "retention") {
              inForce = one.to;
              for (const ground of [plain, busy]) {
                await ground.end(false);
                await ground.open(inForce);
              }
            } else if (one.kind === "days") {
              for (const { clock } of [plain, busy]) clock.jump(one.count * day);
            } else {
              if (one.kind === "change" && !durables.has(one.name)) continue;
              if (one.kind === "create") durables = new Set([...durables, one.name]);
              if (one.kind === "delete") durables.delete(one.name);
              const pending = one.kind === "settle" ? await pendingSeqs(plain.store, one.name).catch(() => []) : [];
              const operation = operationOf(one, lastSeq + 1, pending, plain.clock.now());
              if (operation === undefined) continue;
              if (one.kind === "publish") lastSeq++;
              for (const { store } of [plain, busy]) await store.append([operation]);
            }
            expect(await seen(busy.store)).toEqual(await seen(plain.store));
          }
          for (const ground of [plain, busy]) await ground.end(false);
        }),
        { examples: [[pastItsAge]], numRuns: process.env.LONG === "1" ? 1000 : 100 },
      );
    },
    120_000,
  );
});
