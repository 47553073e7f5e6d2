import { expect } from "vitest";
import type { Message, PublishOptions, Subscription } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import { levelPersistence } from "inproc-broker/persistence";
import { FaultyFileSystem, randomFrom } from "../support/faulty-file-system.js";
import type { FaultyFileSystemOptions } from "../support/faulty-file-system.js";
import { balanced, fetchNow } from "../support/manual-broker.js";
import { ManualClock } from "../support/manual-clock.js";
import { MemoryDatabase } from "../support/memory-database.js";

/** One call, what it does as a whole, and how its promise ended: undefined for one that never did. */
interface Step {
  readonly publishes: readonly string[];
  /** Of the durable `taker`. */
  readonly settles: readonly string[];
  /** Those of `settles` that become dead letters. */
  readonly rejects: readonly string[];
  /** False for the levels that a power cut may take with the end of the log. */
  readonly isSynced: boolean;
  outcome: "resolved" | "rejected" | undefined;
  /** Bytes of the log's files before the call, and once its promise had ended. */
  readonly fromBytes: number;
  toBytes: number;
}

/** What a run of the workload knows at its end. */
export interface BrokerRun {
  readonly disk: FaultyFileSystem;
  readonly database: MemoryDatabase;
  readonly steps: Step[];
  /** Ids of what a subscription in memory has seen, although the broker had refused it. */
  readonly refusedAndSeen: string[];
  /** How many messages it has seen. */
  seen: number;
}

const start = Date.UTC(2030, 0, 1);
const manual = { ack: "manual", maxInFlight: 1_000_000 } as const;

async function openOn(
  disk: FaultyFileSystem,
  database: MemoryDatabase,
  clock: ManualClock,
  onError: (error: unknown) => void,
): Promise<InProcBroker> {
  const broker = new InProcBroker({
    persistence: levelPersistence({
      path: "/store",
      reserveBytes: 200,
      checkpointInterval: 1e9,
      machine: { fileSystem: disk, openDatabase: database.open },
    }),
    clock,
    random: randomFrom(7),
    transactions: {},
    deadLetter: {},
    dedup: { window: 1e9 },
    ack: { timeout: 1e9, backoff: () => 50 },
  });
  broker.on("error", onError);
  await broker.ready();
  return broker;
}

const collectors = { taker: ["a.*", "out"], keeper: ["a.*", "out", "keeper"] } as const;

function connect(broker: InProcBroker, durable: keyof typeof collectors): Subscription {
  return broker.subscribe(collectors[durable], { ...manual, durable });
}

/**
 * Every way into the store, one call after the other; stops at the first open that fails.
 *
 * @param hasCheckpoint in the middle of it
 */
export async function runBrokerWorkload(
  options: FaultyFileSystemOptions,
  hasCheckpoint: boolean,
  database = new MemoryDatabase(),
): Promise<BrokerRun> {
  const disk = new FaultyFileSystem(options);
  const run: BrokerRun = { disk, database, steps: [], refusedAndSeen: [], seen: 0 };
  const clock = new ManualClock(start);
  for (const session of [1, 2]) {
    let broker: InProcBroker;
    try {
      broker = await openOn(disk, database, clock, () => undefined);
    } catch {
      return run;
    }
    await useBroker(broker, run, session, clock, hasCheckpoint);
    balanced(broker);
    await broker.close({ drain: false }).catch(() => undefined);
    // A failed log has to be opened again to be used; with a disk that stays broken that fails too.
  }
  return run;
}

async function useBroker(
  broker: InProcBroker,
  run: BrokerRun,
  session: number,
  clock: ManualClock,
  hasCheckpoint: boolean,
): Promise<void> {
  const seen = new Set<string>();
  const firstStep = run.steps.length;
  broker.subscribe(">", ({ id }) => void seen.add(id));
  const taker = connect(broker, "taker");
  connect(broker, "keeper").pause();
  let number = session * 100;
  const nextId = (): string => `m${(number += 1)}`;
  const data = (): object => ({ text: "x".repeat(number % 40) });

  const call = async (step: Partial<Step>, make: () => Promise<unknown>): Promise<void> => {
    const made: Step = {
      publishes: [],
      settles: [],
      rejects: [],
      isSynced: true,
      outcome: undefined,
      ...step,
      fromBytes: logBytes(run.disk),
      toBytes: Infinity,
    };
    run.steps.push(made);
    made.outcome = await make().then(
      () => "resolved" as const,
      () => "rejected" as const,
    );
    made.toBytes = logBytes(run.disk);
  };
  const publish = (topic: string, options: PublishOptions = {}): Promise<void> => {
    const id = nextId();
    const isSynced = options.durability !== "interval" && options.durability !== "os";
    return call({ publishes: [id], isSynced }, () => broker.publish(topic, data(), { id, ...options }));
  };
  const takeOne = async (): Promise<Message | undefined> => (await fetchNow(taker, 1))[0];

  for (const level of ["group", "always", "interval", "os"] as const) await publish("a.x", { durability: level });
  await publish("a.x", { dedupId: `dedup ${session}`, key: "k", headers: { h: "1" } });
  const batch = [nextId(), nextId(), nextId()];
  await call({ publishes: batch }, () =>
    broker.publishBatch(batch.map((id) => ({ topic: "a.y", data: data(), id, durability: "group" }))),
  );
  await Promise.all((["group", "always", "os", "group"] as const).map((durability) => publish("a.x", { durability })));
  await publish("a.z", { delay: 10 });
  await publish("a.z", { retain: true });
  const acked = await takeOne();
  if (acked !== undefined) await call({ settles: [acked.id] }, () => acked.ack());
  const nacked = await takeOne();
  if (nacked !== undefined) await call({}, () => nacked.nack({ delay: 5 }));
  const rejected = await takeOne();
  if (rejected !== undefined) {
    await call({ settles: [rejected.id], rejects: [rejected.id] }, () => rejected.reject("no good"));
  }
  if (hasCheckpoint) await broker.compact().catch(() => undefined);
  const [one, other] = [await takeOne(), await takeOne()];
  if (one !== undefined && other !== undefined) {
    const published = [nextId(), nextId()];
    const commit = { publishes: published, settles: [one.id, other.id], rejects: [other.id] };
    await call(commit, () =>
      broker.transaction(async (tx) => {
        void tx.publish("out", data(), { id: published[0] as string });
        void tx.ack(one);
        void tx.publish("out", data(), { id: published[1] as string });
        void tx.reject(other, "no good");
      }),
    );
  }
  await clock.advance(20);
  await publish("a.x");
  run.seen += seen.size;
  for (const { publishes, outcome } of run.steps.slice(firstStep)) {
    if (outcome === "rejected") run.refusedAndSeen.push(...publishes.filter((id) => seen.has(id)));
  }
}

function logBytes(disk: FaultyFileSystem): number {
  return disk.paths.filter(isLog).reduce((sum, path) => sum + disk.content(path).length, 0);
}

export function isLog(path: string): boolean {
  return path.startsWith("/store/wal/") && path.endsWith(".wal");
}

/** How sure it is that a step is there after a crash. */
type Certainty = "there" | "gone" | "either";

/**
 * Opens a broker on what a crash left, and compares it with the run. Each step is whole or not at all; those that the
 * broker had acknowledged are there.
 *
 * @param atBytes the log was cut there; absent: the crash was where the run ended
 */
export async function checkBroker(
  run: BrokerRun,
  disk: FaultyFileSystem,
  database: MemoryDatabase,
  hint: string,
  atBytes = Infinity,
): Promise<void> {
  const clock = new ManualClock(start + 60_000);
  const broker = await openOn(disk, database, clock, (error) => expect.fail(`${hint}: ${String(error)}`));
  try {
    // What was delayed comes now.
    await clock.advance(1_000);
    await broker.flush();
    const pending = await idsOf(connect(broker, "taker"), hint);
    const kept = await idsOf(connect(broker, "keeper"), hint);
    const { items } = await broker.deadLetters.list({ limit: 1_000 });
    const dead = new Set(items.map(({ message }) => message.id));
    expect(dead.size, `${hint}: a dead letter twice`).toBe(items.length);
    balanced(broker);
    const synced = run.steps.findLastIndex(({ isSynced, outcome }) => isSynced && outcome === "resolved");
    for (const [at, step] of run.steps.entries()) {
      const certainty = at > synced && !step.isSynced ? "either" : certaintyOf(step, atBytes);
      checkStep(ownOf(step, run), certainty, { pending, kept, dead }, `${hint}, step ${at}`);
    }
    checkUnknown(run, kept, hint);
    const { duplicate } = await broker.publish("nobody", 1, { dedupId: "dedup 1" });
    const first = run.steps[4];
    if (first !== undefined) {
      const certainty = certaintyOf(first, atBytes);
      if (certainty !== "either") expect(duplicate, `${hint}: the dedup id`).toBe(certainty === "there");
      else expect(duplicate, `${hint}: the dedup id`).toBe(kept.has(first.publishes[0] as string));
    }
  } finally {
    await broker.close({ drain: false });
  }
}

function certaintyOf({ outcome, fromBytes, toBytes }: Step, atBytes: number): Certainty {
  if (atBytes <= fromBytes) return "gone";
  return outcome === "resolved" && toBytes <= atBytes ? "there" : "either";
}

/** A step without the settles that another one did again, after this one had been refused. */
function ownOf(step: Step, { steps }: BrokerRun): Step {
  const isOwn = (id: string): boolean => !steps.some((other) => other !== step && other.settles.includes(id));
  return { ...step, settles: step.settles.filter(isOwn), rejects: step.rejects.filter(isOwn) };
}

function checkStep(
  { publishes, settles, rejects }: Step,
  certainty: Certainty,
  { pending, kept, dead }: { pending: ReadonlySet<string>; kept: ReadonlySet<string>; dead: ReadonlySet<string> },
  hint: string,
): void {
  const signs = [
    ...publishes.map((id) => kept.has(id)),
    // Settled is what was published, and is not pending.
    ...settles.filter((id) => kept.has(id)).map((id) => !pending.has(id)),
    ...rejects.filter((id) => kept.has(id)).map((id) => dead.has(id)),
  ];
  expect(new Set(signs).size, `${hint}: half of it: ${signs.join()}`).toBeLessThanOrEqual(1);
  if (certainty === "there") expect(signs, `${hint}: acknowledged, and gone`).not.toContain(false);
  if (certainty === "gone") expect(signs, `${hint}: there before it was asked for`).not.toContain(true);
}

function checkUnknown(run: BrokerRun, kept: ReadonlySet<string>, hint: string): void {
  const asked = new Set(run.steps.flatMap(({ publishes }) => publishes));
  for (const id of kept) expect(asked.has(id), `${hint}: nobody published ${id}`).toBe(true);
}

async function idsOf(sub: Subscription, hint: string): Promise<Set<string>> {
  const messages: Message[] = [];
  for (;;) {
    const page = await fetchNow(sub);
    if (page.length === 0) break;
    messages.push(...page);
  }
  const fresh = messages.filter(({ redelivered }) => !redelivered).map(({ seq }) => seq);
  expect(fresh, `${hint}: in order`).toEqual([...fresh].sort((a, b) => a - b));
  const ids = new Set(messages.map(({ id }) => id));
  expect(ids.size, `${hint}: each once`).toBe(messages.length);
  return ids;
}
