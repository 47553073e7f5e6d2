// @ts-check
/**
 * A broker that crashes before each operation, and goes on with what its store has kept.
 *
 * It crashes where the contract lets nothing be lost: not while a message is in a subscription that is not durable, in
 * flight or in backoff; not while a handler runs, a call waits, a transaction is open; and not while a subscription counts time that a
 * process keeps for itself (`ttl`, `rateLimit`). Its subscriptions and listeners are made again, as a program does when it starts:
 * those that are not durable begin with what is new. Figures of a subscription go on over its lives.
 *
 * What no promise has resolved for may be lost, and is: unsynced bytes go with each crash. Two things that a case goes on with have no
 * promise of their own, and are flushed before: a durable that was made and left again, and a dead letter of a subscription that is not
 * durable.
 *
 * @typedef {import("inproc-broker/testing").TestBroker} TestBroker
 */

/** What answers with a promise and may find the broker crashed before. */
const operations = ["publish", "publishBatch", "flush", "cancel", "idle", "transaction", "close", "request"];
const byDelivery = ["ack", "nack", "reject", "extend"];
const countersOf = [
  "delivered",
  "handedOver",
  "redelivered",
  "nacked",
  "timedOut",
  "handlerErrors",
  "expired",
  "deadLettered",
];

/** Crashes of one case, so that a case of a thousand messages takes no minutes. */
const mostCrashes = 12;

export class CrashingBroker {
  /** @type {TestBroker} */
  #t;
  #crashed;
  /** @type {Set<CrashingSubscription>} */
  #subscriptions = new Set();
  /** @type {{ name: any, listener: any, isOnce: boolean }[]} */
  #listeners = [];
  /** @type {Promise<void> | null} while it is down */
  #restart = null;
  /** Calls and handlers that have not come back. */
  #pending = 0;
  #crashes = 0;
  #deadLetters = 0;

  /** @param {TestBroker} t @param {() => void} [crashed] */
  constructor(t, crashed = () => undefined) {
    this.#t = t;
    this.#crashed = crashed;
    /** @type {Record<string, any>} */
    const methods = {};
    for (const name of operations) {
      methods[name] = (/** @type {any[]} */ ...args) => this.run(() => /** @type {any} */ (t.broker)[name](...args));
    }
    for (const name of byDelivery) {
      methods[name] = (/** @type {any[]} */ ...args) => this.count(() => /** @type {any} */ (t.broker)[name](...args));
    }
    Object.assign(this, methods);
  }

  get state() {
    return this.#t.broker.state;
  }
  get metrics() {
    return this.#t.broker.metrics;
  }
  get deadLetters() {
    const methods = ["list", "peek", "redrive", "purge"];
    const { deadLetters } = this.#t.broker;
    return Object.fromEntries([
      ...methods.map((name) => [
        name,
        (/** @type {any[]} */ ...args) =>
          this.run(() => /** @type {any} */ (this.#t.broker.deadLetters)[name](...args)),
      ]),
      ["stats", () => (this.#restart === null ? this.#t.broker.deadLetters : deadLetters).stats()],
    ]);
  }

  /** @param {any[]} args */
  beginTransaction(...args) {
    return this.#t.broker.beginTransaction(...args);
  }
  /** @param {any[]} args */
  commitTransaction(...args) {
    return /** @type {any} */ (this.#t.broker).commitTransaction(...args);
  }
  /** @param {any[]} args */
  rollbackTransaction(...args) {
    return /** @type {any} */ (this.#t.broker).rollbackTransaction(...args);
  }
  /** @param {any} pattern */
  retained(pattern) {
    return this.#t.broker.retained(pattern);
  }
  /** @param {any[]} args */
  async *replay(...args) {
    await this.run(async () => undefined);
    yield* /** @type {any} */ (this.#t.broker).replay(...args);
  }
  /** @param {any[]} args */
  requestMany(...args) {
    const answers = /** @type {any} */ (this.#t.broker).requestMany(...args);
    this.#pending += 1;
    const next = answers.next.bind(answers);
    let isOver = false;
    const over = () => {
      if (!isOver) this.#pending -= 1;
      isOver = true;
    };
    answers.next = async () => {
      const result = await next();
      if (result.done) over();
      return result;
    };
    const end = answers.return.bind(answers);
    answers.return = async () => {
      over();
      return end();
    };
    return answers;
  }

  /** @param {any} pattern @param {any} [handlerOrOptions] @param {any} [options] */
  subscribe(pattern, handlerOrOptions, options) {
    return this.#add("subscribe", pattern, handlerOrOptions, options);
  }
  /** @param {any} pattern @param {any} handler @param {any} [options] */
  respond(pattern, handler, options) {
    return this.#add("respond", pattern, handler, options);
  }

  /** @param {any} name @param {any} listener */
  on(name, listener) {
    return this.#listen(name, listener, false);
  }
  /** @param {any} name @param {any} listener */
  once(name, listener) {
    return this.#listen(name, listener, true);
  }
  /** @param {any} name @param {any} listener */
  off(name, listener) {
    this.#listeners = this.#listeners.filter((one) => one.name !== name || one.listener !== listener);
    this.#t.broker.off(name, listener);
    return this;
  }

  async [Symbol.asyncDispose]() {
    await this.#t[Symbol.asyncDispose]();
  }

  /** Resolves once it is not down. */
  async up() {
    await this.#restart;
  }

  /** Does something, after a crash where one may be. @template Result @param {() => Promise<Result>} operation @returns {Promise<Result>} */
  run(operation) {
    if (this.#restart === null && this.#crashes < mostCrashes && this.#mayCrash()) this.#restart = this.#crash();
    if (this.#restart === null) return this.count(operation);
    return this.#restart.then(() => this.count(operation));
  }

  /** Does something that a crash must not interrupt. @template Result @param {() => Promise<Result>} operation @returns {Promise<Result>} */
  async count(operation) {
    this.#pending += 1;
    try {
      return await operation();
    } finally {
      this.#pending -= 1;
    }
  }

  /** Everything so far is on the disk. */
  async flushed() {
    if (this.#t.broker.state === "open") await this.#t.broker.flush();
  }

  /** @param {CrashingSubscription} subscription */
  forget(subscription) {
    this.#subscriptions.delete(subscription);
  }

  /** @param {"subscribe" | "respond"} how @param {any} pattern @param {any} handlerOrOptions @param {any} options */
  #add(how, pattern, handlerOrOptions, options) {
    const isPush = typeof handlerOrOptions === "function";
    const given = (isPush ? options : handlerOrOptions) ?? {};
    const handler = isPush ? this.#counted(handlerOrOptions) : undefined;
    const make = (/** @type {any} */ changed) => {
      const all = { ...given, ...changed };
      const broker = /** @type {any} */ (this.#t.broker);
      return handler === undefined ? broker[how](pattern, all) : broker[how](pattern, handler, all);
    };
    const subscription = new CrashingSubscription(this, make, given);
    this.#subscriptions.add(subscription);
    return subscription;
  }

  /** @param {(...args: any[]) => any} handler */
  #counted(handler) {
    return (/** @type {any[]} */ ...args) => {
      const result = handler(...args);
      if (typeof result?.then === "function") void this.count(() => result).catch(() => undefined);
      return result;
    };
  }

  /** @param {any} name @param {any} listener @param {boolean} isOnce */
  #listen(name, listener, isOnce) {
    if (isOnce) {
      const entry = { name, listener: (/** @type {any[]} */ ...facts) => this.#heard(entry, listener, facts), isOnce };
      this.#listeners.push(entry);
      this.#t.broker.once(name, entry.listener);
    } else {
      this.#listeners.push({ name, listener, isOnce });
      this.#t.broker.on(name, listener);
    }
    return this;
  }

  /** @param {any} entry @param {any} listener @param {any[]} facts */
  #heard(entry, listener, facts) {
    this.#listeners.splice(this.#listeners.indexOf(entry), 1);
    listener(...facts);
  }

  #mayCrash() {
    const { broker } = this.#t;
    if (broker.state !== "open" || this.#pending > 0) return false;
    const { inFlight, delayed, pendingRequests, transactions } = broker.metrics.snapshot();
    if (inFlight + delayed + pendingRequests + transactions.open > 0) return false;
    if (broker.subscriptions().some(({ durable, queued }) => durable === undefined && queued > 0)) return false;
    return [...this.#subscriptions].every(({ countsTime }) => !countsTime);
  }

  async #crash() {
    this.#crashes += 1;
    for (const subscription of this.#subscriptions) subscription.crash();
    const { deadLettered } = this.#t.broker.metrics.snapshot();
    if (deadLettered > this.#deadLetters) await this.#t.broker.flush();
    this.#deadLetters = 0;
    await this.#t.crash();
    await this.#t.restart();
    for (const { name, listener, isOnce } of this.#listeners) this.#t.broker[isOnce ? "once" : "on"](name, listener);
    for (const subscription of this.#subscriptions) subscription.connect();
    this.#crashed();
    this.#restart = null;
  }
}

/** A subscription that is made again. */
class CrashingSubscription {
  #owner;
  #make;
  /** @type {any} */
  #current;
  /** @type {Record<string, any>} */
  #past = { dropped: {} };
  #isPaused = false;
  #isDurable;
  /** @type {(value: any) => void} */
  #resolveClosed = () => undefined;
  closed = new Promise((resolve) => {
    this.#resolveClosed = resolve;
  });
  countsTime;

  /** @param {CrashingBroker} owner @param {(changed: object) => any} make @param {any} options */
  constructor(owner, make, options) {
    this.#owner = owner;
    this.countsTime = options.ttl !== undefined || options.rateLimit !== undefined;
    this.#current = make({});
    const { name } = this.#current;
    const hasName = options.name !== undefined || options.group !== undefined || options.durable !== undefined;
    const { durable, from } = options;
    this.#isDurable = durable !== undefined;
    this.#make = () => make({ from: this.#isDurable ? from : "new", ...(hasName ? {} : { name }) });
    this.#watch();
  }

  get name() {
    return this.#current.name;
  }
  get state() {
    return this.#current.state;
  }
  get group() {
    return this.#current.group;
  }
  get patterns() {
    return this.#current.patterns;
  }

  crash() {
    this.#past = this.stats();
    this.#current = { name: this.name, state: "open", stats: () => ({}) };
  }
  connect() {
    this.#current = this.#make();
    if (this.#isPaused) this.#current.pause();
    this.#watch();
  }

  #watch() {
    const watched = this.#current;
    void watched.closed.then((/** @type {any} */ value) => {
      if (this.#current !== watched) return;
      this.#owner.forget(this);
      this.#resolveClosed(value);
    });
  }

  /** @returns {any} */
  stats() {
    const now = this.#current.stats();
    const dropped = { ...this.#past.dropped };
    const sum = (/** @type {number | undefined} */ past, /** @type {number | undefined} */ more) =>
      (past ?? 0) + (more ?? 0);
    for (const reason of Object.keys(now.dropped ?? {})) dropped[reason] = sum(dropped[reason], now.dropped[reason]);
    const sums = countersOf.map((name) => [name, sum(this.#past[name], now[name])]);
    return { ...now, ...Object.fromEntries(sums), dropped };
  }
  pause() {
    this.#isPaused = true;
    this.#current.pause();
  }
  resume() {
    this.#isPaused = false;
    this.#current.resume();
  }
  heartbeat() {
    this.#current.heartbeat();
  }
  /** @param {any[]} args @returns {Promise<any>} */
  fetch(...args) {
    return this.#owner.run(() => this.#current.fetch(...args));
  }
  /** @param {any[]} args @returns {Promise<any>} */
  unsubscribe(...args) {
    return this.#owner.run(async () => {
      await this.#current.unsubscribe(...args);
      if (this.#isDurable) await this.#owner.flushed();
    });
  }
  /** @returns {Promise<any>} */
  drain() {
    return this.#owner.run(() => this.#current.drain());
  }
  /** @returns {Promise<any>} */
  next() {
    return this.#owner.count(() => this.#current.next());
  }
  /** @returns {Promise<any>} */
  return() {
    return this.#owner.count(() => this.#current.return());
  }
  [Symbol.asyncIterator]() {
    return this;
  }
  async [Symbol.asyncDispose]() {
    await this.unsubscribe();
  }
}
