import type {
  BatchEntry,
  BrokerOptions,
  CloseOptions,
  CloseResult,
  FetchOptions,
  Handler,
  Message,
  Plugin,
  PublishOptions,
  Receipt,
  RequestOptions,
  SubscribeOptions,
  Subscription,
  UnsubscribeOptions,
} from "../../src/index.js";
import { InProcBroker } from "../../src/index.js";

/** A broker that breaks one promise, and the case that must notice. */
export interface Mutant {
  readonly name: string;
  readonly caughtBy: string;
  readonly make: (options: BrokerOptions) => InProcBroker;
}

type AnyHandler = Handler<never>;

/** An `InProcBroker` whose ways in can be bent. */
class Bent extends InProcBroker {
  readonly bends: Bends;

  constructor(options: BrokerOptions, bends: Bends) {
    super({ ...options, plugins: bends.plugin === undefined ? [] : [bends.plugin] });
    this.bends = bends;
  }

  override publish(topic: string, data: unknown, options?: PublishOptions): Promise<Receipt> {
    const publish = (one: string, payload: unknown, given?: PublishOptions): Promise<Receipt> =>
      super.publish(one, payload, given);
    return this.bends.publish?.(publish, topic, data, options, this) ?? publish(topic, data, options);
  }

  override publishBatch(entries: readonly BatchEntry[]): Promise<Receipt[]> {
    return this.bends.publishBatch?.(entries, this) ?? super.publishBatch(entries);
  }

  override subscribe(
    pattern: string | readonly string[],
    handlerOrOptions?: AnyHandler | SubscribeOptions<never>,
    options: SubscribeOptions<never> = {},
  ): Subscription<never> {
    const isPush = typeof handlerOrOptions === "function";
    const given = isPush ? options : (handlerOrOptions ?? {});
    const bent = this.bends.options?.(given) ?? given;
    if (!isPush) {
      const subscription = super.subscribe(pattern, bent as SubscribeOptions);
      this.bends.puller?.(subscription);
      return subscription as unknown as Subscription<never>;
    }
    const handler = this.bends.handler?.(handlerOrOptions, this) ?? handlerOrOptions;
    return super.subscribe(pattern, handler as Handler, bent as SubscribeOptions) as unknown as Subscription<never>;
  }

  override request<Answer>(topic: string, data: unknown, options?: RequestOptions): Promise<Answer> {
    const request = (given: RequestOptions | undefined): Promise<Answer> => super.request(topic, data, given);
    return (this.bends.request?.(request, options) as Promise<Answer> | undefined) ?? request(options);
  }

  override close(options: CloseOptions = {}): Promise<CloseResult> {
    const close = (given: CloseOptions): Promise<CloseResult> => super.close(given);
    return this.bends.close?.(close, options, this) ?? close(options);
  }
}

interface Bends {
  readonly plugin?: Plugin;
  readonly publish?: (
    publish: (topic: string, data: unknown, options?: PublishOptions) => Promise<Receipt>,
    topic: string,
    data: unknown,
    options: PublishOptions | undefined,
    broker: Bent,
  ) => Promise<Receipt> | undefined;
  readonly publishBatch?: (entries: readonly BatchEntry[], broker: Bent) => Promise<Receipt[]>;
  readonly options?: (options: SubscribeOptions<never>) => SubscribeOptions<never>;
  readonly handler?: (handler: AnyHandler, broker: Bent) => AnyHandler;
  /** Of a subscription without a handler. */
  readonly puller?: (subscription: Subscription) => void;
  readonly request?: (
    request: (options: RequestOptions | undefined) => Promise<unknown>,
    options: RequestOptions | undefined,
  ) => Promise<unknown>;
  readonly close?: (
    close: (options: CloseOptions) => Promise<CloseResult>,
    options: CloseOptions,
    broker: Bent,
  ) => Promise<CloseResult>;
}

const without = <Options extends object>(options: Options | undefined, ...names: string[]): Options =>
  Object.fromEntries(Object.entries(options ?? {}).filter(([name]) => !names.includes(name))) as Options;

/** Replaces what a consumer calls on a delivery. */
const patch = (message: Message, name: "ack" | "nack" | "reject" | "extend", value: unknown): void =>
  void Object.defineProperty(message, name, { value });

const bent =
  (bends: () => Bends, change: (options: BrokerOptions) => BrokerOptions = (options) => options) =>
  (options: BrokerOptions): InProcBroker =>
    new Bent(change(options), bends());

const receipt = (facts: Partial<Receipt>): Receipt => ({ id: "x", seq: 1, matched: 0, duplicate: false, ...facts });

/** Brokers that are broken on purpose. */
export const mutants: readonly Mutant[] = [
  {
    name: "loses one message in a hundred",
    caughtBy: "ordering: one subscription gets a publisher's messages in the order they were published",
    make: bent(() => {
      let count = 0;
      return {
        publish: (publish, topic, data, options) => {
          count += 1;
          return count % 100 === 0 ? Promise.resolve(receipt({ matched: 1 })) : publish(topic, data, options);
        },
      };
    }),
  },
  {
    name: "swaps two neighbours now and then",
    caughtBy: "ordering: publishes that are not awaited keep their order",
    make: bent(() => {
      let count = 0;
      return {
        publish: (publish, topic, data, options) => {
          count += 1;
          if (count % 50 !== 0) return undefined;
          return Promise.resolve().then(() => publish(topic, data, options));
        },
      };
    }),
  },
  {
    name: "delivers one message in ten twice",
    caughtBy: "delivery: a message reaches every subscription that matches, once",
    make: bent(() => ({
      publish: async (publish, topic, data, options) => {
        const first = await publish(topic, data, options);
        await publish(topic, data, options).catch(() => undefined);
        return first;
      },
    })),
  },
  {
    name: "forgets the delay of a nack",
    caughtBy: "redelivery: nack with a delay brings it after that, not before",
    make: bent(() => ({
      plugin: {
        name: "mutant",
        onDeliver: (message) => {
          const nack = message.nack.bind(message);
          patch(message, "nack", () => nack({ delay: 0 }));
        },
      },
    })),
  },
  {
    name: "counts no redeliveries: comes again for ever",
    caughtBy: "redelivery: after maxDeliveries it is given up, and does not come again",
    make: bent(
      () => ({ options: (options) => without(options, "maxDeliveries") }),
      (options) =>
        options.ack === undefined ? options : { ...options, ack: { ...options.ack, maxDeliveries: 1_000 } },
    ),
  },
  {
    name: "forgets the ack timeout",
    caughtBy: "redelivery: the ack timeout takes a delivery back, and brings it again",
    make: bent(
      () => ({}),
      (options) => (options.ack === undefined ? options : { ...options, ack: { ...options.ack, timeout: Infinity } }),
    ),
  },
  {
    name: "leaves iterations hanging on close",
    caughtBy: "close: close ends every iteration",
    make: bent(() => ({ close: async () => ({ undelivered: [], unacked: [] }) })),
  },
  {
    name: "leaves its timers on close",
    caughtBy: "timers: close leaves no timer",
    make: (options) =>
      new Bent(
        {
          ...options,
          clock: {
            now: () => options.clock?.now() ?? 0,
            monotonic: () => options.clock?.monotonic() ?? 0,
            schedule: (delayMs, run) => {
              options.clock?.schedule(delayMs, run);
              return () => undefined;
            },
          },
        },
        {},
      ),
  },
  {
    name: "ignores time to live",
    caughtBy: "ttl: a message whose ttl is over is never handed to a consumer",
    make: bent(() => ({
      publish: (publish, topic, data, options) => publish(topic, data, without(options, "ttl", "expiresAt")),
    })),
  },
  {
    name: "ignores priorities",
    caughtBy: "priority: a consumer gets the highest priority that waits, first in first out within one",
    make: bent(() => ({
      publish: (publish, topic, data, options) => publish(topic, data, without(options, "priority")),
    })),
  },
  {
    name: "settles everybody's delivery of a message at once",
    caughtBy: "acknowledgement: settling one delivery leaves the others of the same message alone",
    make: bent(() => {
      const acks = new Map<string, (() => Promise<void>)[]>();
      return {
        plugin: {
          name: "mutant",
          onDeliver: (message) => {
            const all = acks.get(message.id) ?? [];
            all.push(message.ack.bind(message));
            acks.set(message.id, all);
            patch(message, "ack", () => Promise.all(all.map((ack) => ack().catch(() => undefined))));
          },
        },
      };
    }),
  },
  {
    name: "settles twice without a word",
    caughtBy: "acknowledgement: a second settle is refused with ERR_ALREADY_SETTLED, and changes nothing",
    make: bent(() => ({
      plugin: {
        name: "mutant",
        onDeliver: (message) => {
          const ack = message.ack.bind(message);
          patch(message, "ack", () => ack().catch(() => undefined));
        },
      },
    })),
  },
  {
    name: "delivers inside publish",
    caughtBy: "delivery: a message is delivered after publish has returned, never inside it",
    make: bent(() => {
      const handlers: AnyHandler[] = [];
      return {
        handler: (handler) => {
          handlers.push(handler);
          return () => undefined;
        },
        publish: (publish, topic, data, options) => {
          for (const handler of handlers) handler({ topic, data, ...options } as never);
          return publish(topic, data, options);
        },
      };
    }),
  },
  {
    name: "swallows what handlers throw: a failure counts as done",
    caughtBy: "acknowledgement: a handler that returns acknowledges; one that throws gives back",
    make: bent(() => ({
      handler: (handler) => async (message: never) => {
        try {
          await handler(message);
        } catch {
          // Nobody hears of it.
        }
      },
    })),
  },
  {
    name: "publishes half a batch",
    caughtBy: "batch: publishBatch is all or nothing: one that is refused refuses all",
    make: bent(() => ({
      publishBatch: async (entries, broker) => {
        const receipts: Receipt[] = [];
        for (const { topic, data, ...options } of entries) receipts.push(await broker.publish(topic, data, options));
        return receipts;
      },
    })),
  },
  {
    name: "drops headers",
    caughtBy: "headers: headers and key arrive as they were given",
    make: bent(() => ({
      publish: (publish, topic, data, options) => publish(topic, data, without(options, "headers")),
    })),
  },
  {
    name: "answers a wrong matched",
    caughtBy: "groups: two groups, and a subscription of its own, each get every message",
    make: bent(() => ({
      publish: async (publish, topic, data, options) => {
        const { id, seq, matched, duplicate } = await publish(topic, data, options);
        return { id, seq, matched: Math.min(matched, 1), duplicate };
      },
    })),
  },
  {
    name: "takes a group for subscriptions of their own",
    caughtBy: "groups: each message goes to one member of the group",
    make: bent(() => ({ options: (options) => without(options, "group") })),
  },
  {
    name: "forgets keys: orders nothing by them",
    caughtBy: "keys: orderBy key: one at a time within a key, in order",
    make: bent(() => ({ options: (options) => without(options, "orderBy") })),
  },
  {
    name: "delivers delayed messages at once",
    caughtBy: "delay: a delayed message is delivered after its delay, not before",
    make: bent(() => ({
      publish: (publish, topic, data, options) => publish(topic, data, without(options, "delay", "deliverAt")),
    })),
  },
  {
    name: "forgets dedupIds",
    caughtBy: "dedup: a second publish under a dedupId is not delivered, and answers with the first receipt",
    make: bent(() => ({
      publish: (publish, topic, data, options) => publish(topic, data, without(options, "dedupId")),
    })),
  },
  {
    name: "never holds a publisher back",
    caughtBy: 'back-pressure: overflow "wait": the publisher is held back until there is room, and nothing is lost',
    make: bent(() => ({
      publish: (publish, topic, data, options) => {
        const held = publish(topic, data, options);
        held.catch(() => undefined);
        return Promise.race([held, Promise.resolve().then(() => receipt({}))]);
      },
    })),
  },
  {
    name: "has no bound",
    caughtBy: 'overflow: "error" refuses the publish for everyone, with ERR_QUEUE_FULL',
    make: bent(() => ({ options: (options) => ({ ...without(options, "overflow"), maxMessages: Infinity }) })),
  },
  {
    name: "runs one handler more at once than it may",
    caughtBy: "ordering: concurrency bounds how many handlers run at once, and is used",
    make: bent(() => ({ options: (options) => ({ ...options, concurrency: (options.concurrency ?? 1) + 1 }) })),
  },
  {
    name: "answers a request that nobody can answer with silence",
    caughtBy: "request-reply: with nobody to answer, it fails at once with ERR_NO_RESPONDERS",
    make: bent(() => ({ request: () => Promise.resolve(undefined) })),
  },
  {
    name: "waits for an answer for ever",
    caughtBy: "request-reply: with no answer in time, it fails with ERR_TIMEOUT",
    make: bent(() => ({ request: (request, options) => request({ ...options, timeout: 1e9 }) })),
  },
  {
    name: "does not mark what comes again",
    caughtBy: "redelivery: nack brings the message again, counted and marked",
    make: bent(() => ({
      plugin: {
        name: "mutant",
        onDeliver: (message) => void Object.defineProperty(message, "redelivered", { value: false }),
      },
    })),
  },
  {
    name: "answers every publish with one sequence number",
    caughtBy: "delivery: sequence numbers rise with every publish",
    make: bent(() => ({
      publish: async (publish, topic, data, options) => ({ ...(await publish(topic, data, options)), seq: 1 }),
    })),
  },
  {
    name: "loses what a member of a group holds when it leaves",
    caughtBy: "groups: what a member holds when it leaves goes to the others",
    make: bent(() => ({
      puller: (subscription) => {
        const held: Message[] = [];
        const fetch = subscription.fetch.bind(subscription);
        const unsubscribe = subscription.unsubscribe.bind(subscription);
        Object.assign(subscription, {
          fetch: async (count: number, options?: FetchOptions) => {
            const messages = await fetch(count, options);
            held.push(...messages);
            return messages;
          },
          unsubscribe: async (options?: UnsubscribeOptions) => {
            for (const message of held) await message.ack();
            await unsubscribe(options);
          },
        });
      },
    })),
  },
  {
    name: "keeps what was retained although null was published",
    caughtBy: "retained: null clears it",
    make: bent(() => ({
      publish: (publish, topic, data, options) =>
        publish(topic, data, data === null ? without(options, "retain") : options),
    })),
  },
  {
    name: "gives a message with a key an id of its own",
    caughtBy: "headers: a message with headers, a key or a priority has the id that publish has answered",
    make: bent(() => ({
      publish: (publish, topic, data, options) =>
        publish(topic, data, options).then((answer) =>
          options?.key === undefined ? answer : { ...answer, id: answer.id.slice(0, 18) },
        ),
    })),
  },
  {
    name: "confirms before anybody has acknowledged",
    caughtBy: "confirms: confirm: publish resolves once so many subscriptions have acknowledged",
    make: bent(() => ({
      publish: (publish, topic, data, options) => publish(topic, data, without(options, "confirm", "confirmTimeout")),
    })),
  },
  {
    name: "does not wait on close",
    caughtBy: "close: close waits for what is queued, in flight and in backoff",
    make: bent(() => ({ close: (close, options) => close({ ...options, drain: false }) })),
  },
  {
    name: "goes on after close",
    caughtBy: "close: after close every operation is refused with ERR_BROKER_CLOSED",
    make: bent(() => {
      let isClosed = false;
      return {
        close: (close, options) => {
          isClosed = true;
          return close(options);
        },
        publish: () => (isClosed ? Promise.resolve(receipt({})) : undefined),
      };
    }),
  },
];
