import type { AnyTopics, DataOf, InProcBroker, PublishOptions, TopicName } from "../index.js";
import { InvalidArgumentError } from "../index.js";
import { KitAssertionError } from "./assertion-error.js";
import { expectEntries, expectNothing, expectOrder } from "./assertions.js";
import type { Faults } from "./faults.js";
import type { HistoryEntry, HistoryKind, HistoryView } from "./history.js";
import { Kit } from "./kit.js";
import { KitBroker } from "./kit-broker.js";
import { leftovers } from "./leftovers.js";
import type { Expectation } from "./matching.js";
import type { TestBrokerOptions } from "./options.js";
import { kitSettings } from "./options.js";
import type { Life } from "./life.js";
import type { SendResult } from "./send.js";
import { outcomeOf } from "./send.js";
import { Session } from "./session.js";
import { Tap } from "./tap.js";
import type { TestClock } from "./test-clock.js";
import type { KitIdleOptions } from "./waits.js";
import { activity, inTime, timedOut, whenEntry, whenIdle } from "./waits.js";

/** How `t.waitFor` waits. */
export interface WaitForOptions {
  /** What has to have happened; default `"published"`. */
  readonly state?: HistoryKind | undefined;
  /** Real milliseconds after which it rejects with `ERR_TIMEOUT`; default the kit's `timeoutMs`. */
  readonly timeoutMs?: number | undefined;
}

/** How `t.send` publishes and waits. */
export interface SendOptions extends PublishOptions {
  /** Real milliseconds after which it rejects with `ERR_TIMEOUT`; default the kit's `timeoutMs`. */
  readonly timeoutMs?: number | undefined;
}

/** What a crash leaves. */
export interface CrashOptions {
  /**
   * What becomes of bytes that were written and not synced. unsynced: they are lost; the default. torn-tail: some of them are,
   * by the seed, from somewhere in the middle of each file. nothing: none are, as after a `kill -9`.
   */
  readonly lose?: "unsynced" | "torn-tail" | "nothing" | undefined;
}

/**
 * A broker for a test, and all there is to know about it: what `createTestBroker` returns.
 *
 * Nothing of it is global: any number of them in one process do not meet, and none leaves anything behind.
 */
export class TestBroker<Topics = AnyTopics> implements HistoryView, AsyncDisposable {
  /** The broker's time. Give it to the application too where that takes a `Clock`. */
  readonly clock: TestClock;
  /** What chance comes from. */
  readonly seed: number;
  /** What may go wrong, when the test says so. */
  readonly fault: Faults;
  readonly #kit: Kit;
  #broker: KitBroker<Topics>;
  /** The end of the last crash: the files are as they will be found. */
  #crashed: Promise<void> = Promise.resolve();

  /** @internal */
  constructor(options: TestBrokerOptions) {
    const kit = new Kit(kitSettings(options));
    this.#kit = kit;
    kit.powerWent = () => void (this.#crashed = this.#crash("nothing"));
    this.#broker = this.#begin();
    this.clock = kit.clock;
    this.seed = kit.settings.seed;
    this.fault = kit.faults;
  }

  /**
   * The broker: the real one, for the code under test; another one after each `restart`. `await using broker = t.broker` ends
   * the test broker, and with it whichever broker it has by then.
   */
  get broker(): InProcBroker<Topics> {
    return this.#broker;
  }

  /** What happened since the broker was made or reset, in causal order: a copy, payloads included. */
  history(): readonly HistoryEntry[] {
    return this.#kit.history.copies();
  }

  /**
   * Resolves once there is nothing to do: nothing queued, in flight, running, or in backoff. Exact: it counts, and no quiet
   * period can fool it. What is scheduled for later counts as done, unless `includeScheduled`.
   *
   * Rejects with `ERR_TIMEOUT` after `timeoutMs` real milliseconds; its text says what is outstanding, and, where time stands
   * still, what would happen next and when.
   */
  idle(options: KitIdleOptions = {}): Promise<void> {
    return whenIdle(this.#kit, options);
  }

  /**
   * Runs something, waits until what it led to is done, and resolves to what happened meanwhile. Rejects with what `run`
   * threw. What is scheduled for later is in `scheduled()`, and not waited for unless `includeScheduled`.
   *
   * On a manual clock, time is moved on through backoffs, so that retries happen; not for a handler that hangs.
   *
   * @example
   * ```ts
   * const s = await t.track(() => api.signUp(user));
   * s.published("user.created").one();
   * ```
   */
  async track<Result>(run: () => Result | Promise<Result>, options: KitIdleOptions = {}): Promise<Session<Result>> {
    const kit = this.#kit;
    const begin = kit.history.end;
    const running = Promise.resolve().then(run);
    // What the test runs may itself wait for what only time brings on: a publish that a fault delays.
    await Promise.race([running, kit.clock.settle()]).catch(() => undefined);
    if (kit.clock.mode === "manual" && kit.publishing.held > 0) await this.#playBackoffs(options);
    const { timeoutMs = kit.settings.timeoutMs } = options;
    const result = await kit.timeWaits.unlessStuck(running, timeoutMs, () =>
      timedOut(kit, `what was tracked has not come back, and nothing has happened for ${timeoutMs} real milliseconds`),
    );
    await kit.clock.settle();
    if (kit.settings.mode === "manual") while (await kit.subscriptions.deliverOne());
    if (kit.clock.mode === "manual") await this.#playUntilIdle(options);
    else await whenIdle(kit, options);
    return new Session(result, kit.history.copies(begin));
  }

  /**
   * Publishes a message, waits for its end in every subscription, and resolves to what became of it. Retries are played: a
   * manual clock is moved on through its backoffs (and its `delay`), and stays where it got to.
   *
   * @example
   * ```ts
   * const { outcome, attempts } = await t.send("order.placed", order);
   * ```
   */
  async send<Topic extends TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options: SendOptions = {},
  ): Promise<SendResult> {
    const { timeoutMs = this.#kit.settings.timeoutMs, ...publishOptions } = options;
    const kit = this.#kit;
    const publishing = this.broker.publish(topic, data, publishOptions);
    if (!kit.faults.isEmpty) await Promise.race([publishing, kit.clock.settle()]);
    if (kit.clock.mode === "manual" && kit.publishing.held > 0) await this.#playBackoffs({});
    const receipt = await inTime(publishing, timeoutMs, () =>
      timedOut(kit, `the publish on ${topic} has not resolved after ${timeoutMs} real milliseconds`),
    );
    return outcomeOf(kit, receipt, timeoutMs);
  }

  /**
   * Resolves once a message on a topic that matches, of which the predicate says true, has come to a state: at once where
   * that has happened already since the last reset. Rejects with `ERR_TIMEOUT`, and lists what there was.
   *
   * @example
   * ```ts
   * await t.waitFor("order.shipped", (m) => m.data.id === 7, { state: "acked" });
   * ```
   */
  waitFor<Data = unknown>(
    pattern: string,
    predicate: (entry: HistoryEntry<Data>) => boolean = () => true,
    options: WaitForOptions = {},
  ): Promise<HistoryEntry<Data>> {
    const { state = "published", timeoutMs = this.#kit.settings.timeoutMs } = options;
    const isWanted = predicate as (entry: HistoryEntry) => boolean;
    return whenEntry(this.#kit, state, pattern, isWanted, timeoutMs) as Promise<HistoryEntry<Data>>;
  }

  /**
   * With `mode: "manual"`: has so many messages handed to handlers, one after the other, in the order they were published,
   * and waits until nothing more happens. Resolves to how many there were.
   */
  async deliver(count = 1): Promise<number> {
    let delivered = 0;
    while (delivered < count && (await this.#kit.subscriptions.deliverOne())) delivered += 1;
    return delivered;
  }

  /** The messages published on topics that match. Throws unless there is at least one, or `times`; lists what there was. */
  expectPublished<Data = unknown>(pattern: string, expectation: Expectation<Data> = {}): HistoryEntry<Data>[] {
    return expectEntries(this, "published", pattern, expectation) as HistoryEntry<Data>[];
  }

  /** As `expectPublished`, for any kind of event: `t.expect("deadLettered", "order.*", { reason: "rejected" })`. */
  expect<Data = unknown>(kind: HistoryKind, pattern = ">", expectation: Expectation<Data> = {}): HistoryEntry<Data>[] {
    return expectEntries(this, kind, pattern, expectation) as HistoryEntry<Data>[];
  }

  /** Throws where anything was published or scheduled on topics that match, and lists it. */
  expectNothing(pattern = ">"): void {
    expectNothing(this, pattern);
  }

  /** Throws where messages on these topics (or patterns) were not published in this order. Others may come in between. */
  expectOrder(patterns: readonly string[]): void {
    expectOrder(this, patterns);
  }

  /** Looks at what is published, without competing for it and without counting in `matched`. */
  tap<Data = unknown>(pattern = ">"): Tap<Data> {
    return new Tap(this.#kit.history, pattern);
  }

  /** What a strict test would fail for, now: a line each. */
  leftovers(): string[] {
    return leftovers(this.#kit, this.#kit.settings.strict);
  }

  /** Throws where the test has left something behind, and says what: see `StrictOptions`. */
  assertClean(): void {
    const lines = this.leftovers();
    if (lines.length === 0) return;
    throw new KitAssertionError(
      `the test broker is not clean (seed ${this.seed}):\n${lines.map((line) => `  ${line}`).join("\n")}`,
    );
  }

  /**
   * Clears messages (waiting, in flight, scheduled, retained, stored), dead letters, deduplication, history and faults; chance
   * starts again from the seed. Subscriptions, durables, taps, the clock and counters stay. What a store has from before is not
   * seen any more, through this test broker.
   */
  async reset(): Promise<void> {
    const { broker } = this.#kit;
    await broker.ready();
    broker.purge();
    if (this.#kit.brokerOptions.deadLetter !== undefined) await broker.deadLetters.purge();
    this.#kit.reset();
  }

  /**
   * Ends the broker as a power cut would: at once, in the middle of whatever it does. What it has not synced is lost, or as
   * `lose` says; without a store that is everything. What is under way rejects, no handler is called any more, what a handler
   * still does reaches nobody, and `t.broker` refuses everything until `restart`. Time may move on meanwhile.
   *
   * Resolves once the files are as they will be found. Throws `ERR_INVALID_OPTION` with a store that the kit did not make.
   *
   * @example
   * ```ts
   * const t = createTestBroker({ persistence: "memory" });
   * startBilling(t.broker);
   * await t.broker.publish("orders.placed", order);
   * await t.crash();
   * startBilling(await t.restart());
   * await t.idle();
   * ```
   */
  async crash(options: CrashOptions = {}): Promise<void> {
    const { lose = "unsynced" } = options;
    const kit = this.#kit;
    checkLoss(lose);
    if (kit.store?.disk === null) {
      throw invalidCrash(
        'crash needs a store that the kit made: createTestBroker({ persistence: "memory" }) or { path }',
      );
    }
    if (!kit.life.isOver) this.#crashed = this.#crash(lose);
    await this.#crashed;
  }

  async #crash(lose: NonNullable<CrashOptions["lose"]>): Promise<void> {
    const kit = this.#kit;
    const entry = kit.recorder.event("crashed", "");
    kit.endLife();
    await this.#broker.close({ drain: false }).catch(() => undefined);
    await kit.store?.disk?.atRest();
    const lost = await kit.store?.disk?.cut(lose, kit.faults.random);
    kit.history.amend(entry, { reason: lost ?? "there is no store: everything is lost" });
  }

  /**
   * Begins again with the same options, on what the store has kept; where nothing has crashed, the broker is closed first,
   * without waiting for what is left. Resolves, once the store is open, to the new broker, which is `t.broker` from now on: it
   * has no subscriptions and no listeners yet. Clock, history, taps and faults go on.
   *
   * Rejects as `broker.ready()` does.
   */
  async restart(): Promise<InProcBroker<Topics>> {
    const kit = this.#kit;
    await this.#crashed;
    if (!kit.life.isOver) {
      await this.#broker.close({ drain: false });
      kit.endLife();
    }
    const entry = kit.recorder.event("restarted", "");
    this.#broker = this.#begin();
    await this.#broker.ready();
    const { log, messagesInBlocks, messagesInLog } = kit.store?.report ?? {};
    const found =
      log === undefined ? "nothing was kept" : `${(messagesInBlocks ?? 0) + (messagesInLog ?? 0)} messages kept`;
    kit.history.amend(entry, {
      reason: (log?.cutBytes ?? 0) > 0 ? `${found}, ${log?.cutBytes} bytes cut off the log` : found,
    });
    return this.#broker;
  }

  /** Ends the broker at once. Throws where strict mode finds that something is left behind. A repeat does nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { clock, settings } = this.#kit;
    const broker = this.#broker;
    await this.#crashed;
    try {
      if (settings.isStrict && broker.state !== "closed") this.assertClean();
    } finally {
      await (clock.mode === "real" ? broker.close() : broker.close({ drain: false }));
    }
  }

  #begin(): KitBroker<Topics> {
    const life: Life = { isOver: false, isSteady: false };
    return new KitBroker<Topics>(this.#kit, life, () => this[Symbol.asyncDispose]());
  }

  /** Waits until idle, and moves a manual clock on whenever nothing but time is missing, also after a handler that has waited for a disk. */
  async #playUntilIdle(options: KitIdleOptions): Promise<void> {
    const kit = this.#kit;
    await this.#playBackoffs(options);
    const over = new AbortController();
    const idle = whenIdle(kit, options).finally(() => over.abort());
    idle.catch(() => undefined);
    while (!over.signal.aborted) {
      await activity(kit, over.signal).catch(() => undefined);
      await kit.clock.settle();
      await this.#playBackoffs(options);
    }
    await idle;
  }

  /** Moves a manual clock through backoffs (and schedules) for as long as nothing else is to do. */
  async #playBackoffs({ includeScheduled = false, includeRetries = true }: KitIdleOptions): Promise<void> {
    const kit = this.#kit;
    for (;;) {
      if (kit.settings.mode === "manual") while (await kit.subscriptions.deliverOne());
      if (!kit.waitsForTime(includeRetries, includeScheduled)) return;
      if ((await kit.clock.runNext()) === undefined) return;
    }
  }
}

/**
 * Makes a broker for a test: the real one, in memory, on a clock that the test moves.
 *
 * Takes well under a millisecond. Throws `ERR_INVALID_OPTION` for an option that neither the kit nor the broker knows.
 *
 * @example
 * ```ts
 * import { createTestBroker } from "inproc-broker/testing";
 *
 * const t = createTestBroker({ ack: { maxDeliveries: 3 }, deadLetter: {}, strict: { subscriptions: false } });
 * await using broker = t.broker;
 * startBilling(broker);
 * const { outcome, attempts } = await t.send("orders.placed", { id: 7 });
 * t.expectPublished("invoices.created", { match: { order: 7 } });
 * ```
 */
export function createTestBroker<Topics = AnyTopics>(options: TestBrokerOptions = {}): TestBroker<Topics> {
  return new TestBroker<Topics>(options);
}

function checkLoss(lose: unknown): void {
  if (lose === "unsynced" || lose === "torn-tail" || lose === "nothing") return;
  throw invalidCrash(
    `lose must be one of "unsynced", "torn-tail", "nothing"; got ${JSON.stringify(lose) ?? typeof lose}`,
  );
}

function invalidCrash(text: string): Error {
  return new InvalidArgumentError("ERR_INVALID_OPTION", text, { facts: { option: "crash" } });
}
