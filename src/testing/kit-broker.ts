import type {
  BrokerEventName,
  BrokerListener,
  CloseOptions,
  CloseResult,
  DataOf,
  DeadLetters,
  Handler,
  IdleOptions,
  MessageOf,
  PublishOptions,
  Receipt,
  ReplayMessagesOptions,
  RequestManyOptions,
  RequestOptions,
  SubscribeOptions,
  Subscription,
  SubscriptionEntry,
  TopicName,
  Transaction,
  TransactionOptions,
} from "../index.js";
import { InProcBroker } from "../index.js";
import { afterRealTime } from "../platform/real-time.js";
import type { Kit } from "./kit.js";
import type { Life } from "./life.js";

/**
 * An `InProcBroker` that the kit looks into: the real one, with its real semantics. What it overrides calls the broker's own
 * method, before or after which the kit does its part.
 */
export class KitBroker<Topics> extends InProcBroker<Topics> {
  readonly #kit: Kit;
  readonly #life: Life;
  /** Ends the test broker, and with it whichever broker it has by then. */
  readonly #onDispose: () => Promise<void>;
  readonly #listeners = new WeakMap<object, object>();
  #errorListeners = 0;
  /** The broker's, once the kit looks into them. */
  #deadLetters: DeadLetters | null = null;

  constructor(kit: Kit, life: Life, onDispose: () => Promise<void>) {
    super(kit.optionsFor(life));
    this.#kit = kit;
    this.#life = life;
    this.#onDispose = onDispose;
    kit.attach(this as unknown as InProcBroker<never>, life);
  }

  override publish<Topic extends TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options?: PublishOptions,
  ): Promise<Receipt> {
    if (options?.confirm !== undefined) return this.#confirmed(topic, data, options);
    return this.#publish(topic, data, options);
  }

  #publish<Topic extends TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options?: PublishOptions,
  ): Promise<Receipt> {
    if (this.#kit.publishing.isPlain || options?.transaction !== undefined || this.#kit.isInternal(topic)) {
      return super.publish(topic, data, options);
    }
    return this.#kit.publishing.publish(topic, (more) => super.publish(topic, data, { ...options, ...more }));
  }

  #confirmed<Topic extends TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options: PublishOptions,
  ): Promise<Receipt> {
    const { confirm, confirmTimeout: ms = 5_000 } = options;
    const what = `a publish on ${topic} that ${confirm} subscriptions are to confirm`;
    return this.#kit.timeWaits.watch({ what, then: "fails with ERR_TIMEOUT", ms }, this.#publish(topic, data, options));
  }

  override request<Answer = unknown, Topic extends TopicName<Topics> = TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options: RequestOptions = {},
  ): Promise<Answer> {
    const { timeout: ms = 5_000 } = options;
    const answer = super.request<Answer, Topic>(topic, data, options);
    return this.#kit.timeWaits.watch({ what: `a request on ${topic}`, then: "fails with ERR_TIMEOUT", ms }, answer);
  }

  override requestMany<Answer = unknown, Topic extends TopicName<Topics> = TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options: RequestManyOptions = {},
  ): AsyncGenerator<Answer, void, undefined> {
    const { timeout = 1_000 } = options;
    const answers = super.requestMany<Answer, Topic>(topic, data, options);
    const next = answers.next.bind(answers);
    const { clock, timeWaits } = this.#kit;
    let endsAt = Infinity;
    return Object.assign(answers, {
      next: () => {
        // The request goes out with the first step.
        if (endsAt === Infinity) endsAt = clock.now() + timeout;
        const ms = Math.max(0, endsAt - clock.now());
        return timeWaits.watch({ what: `requestMany on ${topic}`, then: "ends", ms }, next());
      },
    });
  }

  override beginTransaction(options: TransactionOptions = {}): Transaction<Topics> {
    const { brokerOptions, times } = this.#kit;
    const tx = super.beginTransaction(options);
    times.transaction(tx.id, options.timeout ?? brokerOptions.transactions?.timeout ?? 30_000);
    const dispose = tx[Symbol.asyncDispose].bind(tx);
    return Object.assign(tx, {
      [Symbol.asyncDispose]: () => {
        times.transactionOver(tx.id);
        return dispose();
      },
    });
  }

  override commitTransaction(id: string): Promise<void> {
    this.#kit.times.transactionOver(id);
    return super.commitTransaction(id);
  }

  override rollbackTransaction(id: string): Promise<void> {
    this.#kit.times.transactionOver(id);
    return super.rollbackTransaction(id);
  }

  override replayMessages(pattern: string | readonly string[], options: ReplayMessagesOptions = {}): Promise<number> {
    const what = `replayMessages on ${[pattern].flat().join(", ")} goes on`;
    return this.#kit.times.rated(what, options.rate, super.replayMessages(pattern, options));
  }

  override get deadLetters(): DeadLetters {
    const letters = super.deadLetters;
    if (this.#deadLetters !== letters) {
      const redrive = letters.redrive.bind(letters);
      letters.redrive = (filter, options) =>
        this.#kit.times.rated("deadLetters.redrive goes on", options?.rate, redrive(filter, options));
      this.#deadLetters = letters;
    }
    return letters;
  }

  override idle(options: IdleOptions = {}): Promise<void> {
    const { timeout: ms = Infinity } = options;
    return this.#kit.timeWaits.watch(
      { what: "broker.idle()", then: "fails with ERR_TIMEOUT", ms },
      super.idle(options),
    );
  }

  override subscribe<const Pattern extends string>(
    pattern: Pattern | readonly Pattern[],
    options?: SubscribeOptions<MessageOf<Topics, Pattern>>,
  ): Subscription<MessageOf<Topics, Pattern>>;
  override subscribe<const Pattern extends string>(
    pattern: Pattern | readonly Pattern[],
    handler: Handler<MessageOf<Topics, Pattern>>,
    options?: SubscribeOptions<MessageOf<Topics, Pattern>>,
  ): Subscription<MessageOf<Topics, Pattern>>;
  override subscribe(
    pattern: string | readonly string[],
    handlerOrOptions?: Handler<never> | SubscribeOptions<never>,
    options?: SubscribeOptions<never>,
  ): Subscription<never> {
    const isPush = typeof handlerOrOptions === "function";
    const subscription = super.subscribe(
      pattern,
      handlerOrOptions as never,
      options as never,
    ) as unknown as Subscription<never>;
    this.#kit.subscriptions.add(subscription, isPush, isPush ? options : handlerOrOptions);
    return subscription;
  }

  override subscribeBatch(entries: readonly SubscriptionEntry<Topics>[]): Subscription<MessageOf<Topics, string>>[] {
    const subscriptions = super.subscribeBatch(entries);
    for (const [index, subscription] of subscriptions.entries()) {
      const { handler, pattern: _, ...options } = entries[index] as SubscriptionEntry<Topics>;
      this.#kit.subscriptions.add(subscription as never, handler !== undefined, options);
    }
    return subscriptions;
  }

  override ack(deliveryId: string): Promise<void> {
    return this.#kit.ackById(deliveryId, () => super.ack(deliveryId));
  }

  override async cancel(id: string): Promise<boolean> {
    const isCancelled = await super.cancel(id);
    if (isCancelled) this.#kit.recorder.cancelled(id);
    return isCancelled;
  }

  override on<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this {
    if (name === "error") this.#countErrorListeners(1);
    return super.on(name, this.#whileAlive(listener));
  }

  override once<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this {
    return super.once(name, this.#whileAlive(listener));
  }

  override off<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this {
    if (name === "error") this.#countErrorListeners(-1);
    return super.off(name, this.#whileAlive(listener));
  }

  /**
   * As the broker's. On a manual clock its deadline would never come: where it waits for longer than the kit's `timeoutMs`,
   * the clock is moved on by the `timeout` of the call, as time would.
   */
  override async close(options: CloseOptions = {}): Promise<CloseResult> {
    const { clock, settings } = this.#kit;
    if (options.drain === false) this.#kit.closing();
    const { timeout = 5_000 } = options;
    const closing = super.close(options);
    if (options.drain !== false) void this.#kit.times.ends("close ends with what is left by then", timeout, closing);
    if (clock.mode !== "manual" || options.drain === false) return closing;
    const cancel = afterRealTime(settings.timeoutMs, () => void clock.advance(timeout));
    try {
      return await closing;
    } finally {
      cancel();
    }
  }

  /** Ends the test broker: closes without waiting for what is left, and throws where strict mode finds that something is. */
  override async [Symbol.asyncDispose](): Promise<void> {
    await this.#onDispose();
  }

  /** A listener that hears nothing of what happens after a crash. */
  #whileAlive<Name extends BrokerEventName>(listener: BrokerListener<Name>): BrokerListener<Name> {
    if (typeof listener !== "function") return listener;
    const known = this.#listeners.get(listener);
    if (known !== undefined) return known as BrokerListener<Name>;
    const whileAlive = ((...facts: never[]) => {
      if (!this.#life.isOver) (listener as (...all: never[]) => void)(...facts);
    }) as BrokerListener<Name>;
    this.#listeners.set(listener, whileAlive);
    return whileAlive;
  }

  #countErrorListeners(by: number): void {
    // The kit's own listener is there before it is attached.
    if (!this.#kit.isAttached) return;
    this.#errorListeners += by;
    this.#kit.hasErrorListener = this.#errorListeners > 0;
  }
}
