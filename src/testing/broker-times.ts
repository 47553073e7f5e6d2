import type { Clock, SubscribeOptions, Subscription } from "../index.js";
import type { PendingTimer } from "./test-clock.js";

/** Something that the clock brings on. */
interface Deadline {
  /** On the monotonic clock. */
  readonly dueAt: number;
  readonly what: string;
}

/** A subscription that is served no faster than so. */
interface Limited {
  readonly subscription: Subscription<never>;
  readonly perSecond: number;
  readonly burst: number;
  tokens: number;
  filledAt: number;
}

/** A call that goes on at a rate: a step at its start, and one each `stepMs` from then. */
interface RatedCall {
  readonly what: string;
  readonly startedAt: number;
  readonly stepMs: number;
}

/**
 * What of the broker's own waits for time, where no message and no call of the application says so: transactions, subscriptions that end
 * or are served at a rate, redrives and replays at a rate, a close, and the store.
 *
 * The broker has one real timer for all its deadlines, which does not say what it is for; so these are known from what the application
 * has asked for. They are told by `pending()` and lead to nothing else: no test fails for them.
 */
export class BrokerTimes {
  readonly #clock: Pick<Clock, "now" | "monotonic">;
  readonly #transactions = new Map<string, Deadline>();
  readonly #ttls = new Map<Subscription<never>, Deadline>();
  readonly #heartbeats = new Map<Subscription<never>, RatedCall>();
  readonly #limited = new Map<string, Set<Limited>>();
  readonly #calls = new Set<RatedCall>();
  readonly #others = new Set<Deadline>();

  constructor(clock: Pick<Clock, "now" | "monotonic">) {
    this.#clock = clock;
  }

  /** A transaction has begun; `transactionOver` says that it has ended. */
  transaction(id: string, timeoutMs: number): void {
    this.#transactions.set(id, this.#in(timeoutMs, `the transaction ${id} is rolled back (ERR_TRANSACTION_TIMEOUT)`));
  }

  transactionOver(id: string): void {
    this.#transactions.delete(id);
  }

  /** The application has subscribed. */
  subscribed(subscription: Subscription<never>, options: SubscribeOptions<never>): void {
    const { ttl, heartbeat, rateLimit } = options;
    const { name } = subscription;
    if (ttl !== undefined) this.#endsAfter(subscription, ttl, heartbeat);
    if (rateLimit === undefined) return;
    const { perSecond, burst = 1 } = rateLimit;
    const limited: Limited = { subscription, perSecond, burst, tokens: burst, filledAt: this.#clock.monotonic() };
    const members = this.#limited.get(name) ?? new Set();
    this.#limited.set(name, members.add(limited));
    void subscription.closed.then(() => {
      members.delete(limited);
      if (members.size === 0) this.#limited.delete(name);
    });
  }

  /** A message was handed to a subscription: that takes a token of the member which has most. */
  handedOver(name: string): void {
    let taker: Limited | undefined;
    for (const member of this.#limited.get(name) ?? []) {
      this.#refill(member);
      if (taker === undefined || member.tokens > taker.tokens) taker = member;
    }
    if (taker !== undefined) taker.tokens -= 1;
  }

  /** A call has something done so often a second, until it is over. */
  rated<Result>(what: string, perSecond: number | undefined, call: Promise<Result>): Promise<Result> {
    if (perSecond === undefined) return call;
    const startedAt = this.#clock.monotonic();
    return this.#until(call, this.#calls, {
      what: `${what}, at ${perSecond} a second`,
      startedAt,
      stepMs: 1_000 / perSecond,
    });
  }

  /** A call that the broker ends after so long. */
  ends<Result>(what: string, ms: number, call: Promise<Result>): Promise<Result> {
    return this.#until(call, this.#others, this.#in(ms, what));
  }

  /** The clock for a store, whose timers are told as its work. */
  storeClock(clock: Clock): Clock {
    const what = "the store does work of its own: it syncs, makes a checkpoint, or looks for room";
    return {
      now: () => clock.now(),
      monotonic: () => clock.monotonic(),
      schedule: (delayMs, run) => {
        const deadline = this.#in(delayMs, what);
        this.#others.add(deadline);
        const over = (): void => void this.#others.delete(deadline);
        const cancel = clock.schedule(delayMs, () => {
          over();
          run();
        });
        return () => {
          over();
          cancel();
        };
      },
    };
  }

  /** The broker has ended, and its timers with it. */
  end(): void {
    for (const all of [this.#transactions, this.#ttls, this.#heartbeats, this.#limited, this.#calls, this.#others]) {
      all.clear();
    }
  }

  agenda(): PendingTimer[] {
    const now = this.#clock.monotonic();
    const deadlines = [...this.#transactions.values(), ...this.#ttls.values(), ...this.#others];
    for (const { what, startedAt, stepMs } of [...this.#calls, ...this.#heartbeats.values()]) {
      deadlines.push({ dueAt: startedAt + (Math.floor((now - startedAt) / stepMs) + 1) * stepMs, what });
    }
    for (const [name, members] of this.#limited) {
      const dueAt = this.#nextToken(members);
      if (dueAt > now) deadlines.push({ dueAt, what: `the rate limit of ${name} lets the next message through` });
    }
    return deadlines
      .filter(({ dueAt }) => dueAt >= now && dueAt < Infinity)
      .map(({ dueAt, what }) => ({ at: this.#clock.now() + dueAt - now, inMs: dueAt - now, what }));
  }

  #endsAfter(subscription: Subscription<never>, ttlMs: number, heartbeatMs: number | undefined): void {
    const { name } = subscription;
    if (heartbeatMs === undefined) {
      const renew = (): void =>
        void this.#ttls.set(subscription, this.#in(ttlMs, `the subscription ${name} ends: its ttl is over`));
      renew();
      const heartbeat = subscription.heartbeat.bind(subscription);
      Object.defineProperty(subscription, "heartbeat", {
        configurable: true,
        value: () => {
          heartbeat();
          if (subscription.state === "open") renew();
        },
      });
    } else {
      const what = `the heartbeat of ${name} renews its ttl`;
      this.#heartbeats.set(subscription, { what, startedAt: this.#clock.monotonic(), stepMs: heartbeatMs });
    }
    void subscription.closed.then(() => {
      this.#ttls.delete(subscription);
      this.#heartbeats.delete(subscription);
    });
  }

  /** When one of those has a token for what waits; -Infinity where nothing waits for that. */
  #nextToken(members: Iterable<Limited>): number {
    let earliest = Infinity;
    for (const member of members) {
      const { subscription, perSecond } = member;
      if (subscription.isPaused || subscription.stats().queued === 0) continue;
      this.#refill(member);
      // A hair short of a whole token is rounding, not a token that is missing.
      if (member.tokens >= 1 - 1e-9) return -Infinity;
      earliest = Math.min(earliest, member.filledAt + ((1 - member.tokens) * 1_000) / perSecond);
    }
    return earliest;
  }

  #refill(member: Limited): void {
    const now = this.#clock.monotonic();
    member.tokens = Math.min(member.burst, member.tokens + ((now - member.filledAt) * member.perSecond) / 1_000);
    member.filledAt = now;
  }

  #in(ms: number, what: string): Deadline {
    return { dueAt: this.#clock.monotonic() + ms, what };
  }

  #until<Result, Entry>(call: Promise<Result>, open: Set<Entry>, entry: Entry): Promise<Result> {
    open.add(entry);
    const over = (): void => void open.delete(entry);
    call.then(over, over);
    return call;
  }
}
