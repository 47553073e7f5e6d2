import type {
  BrokerOptions,
  CloseResult,
  Handler,
  Message,
  PublishOptions,
  Receipt,
  SubscribeOptions,
  Subscription,
} from "../../src/index.js";
import { InProcBroker } from "../../src/index.js";
import type { Mutant } from "./mutants.js";

type Publish = (topic: string, data: unknown, options?: PublishOptions) => Promise<Receipt>;

/** A broker of which one method is another: `change` gets the right one. */
function changed<Name extends keyof InProcBroker>(
  name: Name,
  change: (right: InProcBroker[Name], broker: InProcBroker) => unknown,
): Mutant["make"] {
  return (options) => {
    const broker = new InProcBroker(options);
    const right = (broker[name] as (...args: never[]) => unknown).bind(broker) as InProcBroker[Name];
    return Object.defineProperty(broker, name, { value: change(right, broker) });
  };
}

const publishing = (change: (right: Publish) => Publish): Mutant["make"] =>
  changed("publish", (right) => change(right as Publish));

/** Settings are not what was asked for. */
const withOptions =
  (change: (options: BrokerOptions) => BrokerOptions): Mutant["make"] =>
  (options) =>
    new InProcBroker(change(options));

/** Options of subscriptions are not what was asked for, or what `subscribe` returns is something else. */
function subscribing(
  change: (options: SubscribeOptions) => SubscribeOptions,
  then: (subscription: Subscription) => unknown = () => undefined,
): Mutant["make"] {
  return changed(
    "subscribe",
    (right) => (pattern: string, first?: Handler | SubscribeOptions, more?: SubscribeOptions) => {
      const isPush = typeof first === "function";
      const options = change((isPush ? more : first) ?? {});
      const subscription = isPush ? right(pattern, first, options) : right(pattern, options);
      then(subscription as Subscription);
      return subscription;
    },
  );
}

const same = (options: SubscribeOptions): SubscribeOptions => options;

const without = <Options extends object>(options: Options, ...names: (keyof Options)[]): Options =>
  Object.fromEntries(Object.entries(options).filter(([name]) => !names.includes(name as keyof Options))) as Options;

/** What consumers get is something else. */
const delivering =
  (change: (message: Message) => void): Mutant["make"] =>
  (options) =>
    new InProcBroker({ ...options, plugins: [{ name: "mutant", onDeliver: change }] });

const put = (message: Message, methods: Partial<Message>): void => {
  for (const [name, value] of Object.entries(methods)) Object.defineProperty(message, name, { value });
};

const nothing = async (): Promise<void> => undefined;
const accepted: Receipt = { id: "x", seq: 1, matched: 0, duplicate: false };

/** Mutants of what is asked for seldom: one part of the broker each. */
export const partMutants: readonly Mutant[] = [
  {
    name: "says that somebody got what nobody subscribed to",
    caughtBy: "delivery: a message that nobody subscribed to is accepted, and matched is 0",
    make: publishing((right) => async (...args) => {
      const receipt = await right(...args);
      return { ...receipt, matched: Math.max(1, receipt.matched) };
    }),
  },
  {
    name: "makes an id although one was given",
    caughtBy: "delivery: an id that is given is kept; ids that are made differ, and sort by time",
    make: publishing(
      (right) =>
        (topic, data, options = {}) =>
          right(topic, data, without(options, "id")),
    ),
  },
  {
    name: "does not hear the signal of a subscription",
    caughtBy: "delivery: a signal ends the subscription",
    make: subscribing((options) => without(options, "signal")),
  },
  {
    name: "forgets the name of a subscription",
    caughtBy: "delivery: a subscription by name says so in statistics and deliveries",
    make: subscribing((options) => without(options, "name")),
  },
  {
    name: "takes any topic",
    caughtBy: "wildcards: a wildcard is refused in a topic, and in a token with other characters",
    make: publishing(
      (right) =>
        (...args) =>
          right(...args).catch(() => accepted),
    ),
  },
  {
    name: "takes a topic that is malformed for another",
    caughtBy: "errors: a topic that is empty, too long, or has empty tokens or spaces is refused",
    make: publishing(
      (right) =>
        (topic, ...args) =>
          right(topic.replaceAll(/^\.|\.$|\s/g, "") || "x", ...args),
    ),
  },
  {
    name: "takes a pattern that is malformed for another",
    caughtBy: "errors: a pattern that is empty or malformed is refused, and leaves no subscription",
    make: changed("subscribe", (right) => (pattern: string, ...args: never[]) => {
      try {
        return right(pattern, ...args);
      } catch {
        return right("x", ...args);
      }
    }),
  },
  {
    name: "fails without a code",
    caughtBy: "errors: an error has a code, and a text that says the value and what to do",
    make: publishing((right) => async (...args) => {
      try {
        return await right(...args);
      } catch {
        throw new Error("bad input");
      }
    }),
  },
  {
    name: "overlooks options it does not know",
    caughtBy: "errors: an option nobody knows is refused with ERR_INVALID_OPTION",
    make: publishing(
      (right) =>
        (topic, data, options = {}) =>
          right(topic, data, without(options, "dealy" as "delay")),
    ),
  },
  {
    name: "sends what is no payload as null",
    caughtBy: "errors: undefined, functions and symbols are no payloads",
    make: publishing(
      (right) => (topic, data, options) =>
        right(topic, ["undefined", "function", "symbol"].includes(typeof data) ? null : data, options),
    ),
  },
  {
    name: "takes messages without a key for those of one key",
    caughtBy: "keys: messages without a key are not held back by it",
    make: publishing((right) => (topic, data, options) => right(topic, data, { key: "none", ...options })),
  },
  {
    name: "acknowledges what it hands over",
    caughtBy: 'acknowledgement: with ack "manual" a message stays in flight until it is settled',
    make: delivering((message) => {
      void message.ack().catch(() => undefined);
      put(message, { ack: nothing });
    }),
  },
  {
    name: "acknowledges everything in flight with one of it",
    caughtBy: "acknowledgement: settling one message leaves the others of the same subscription in flight",
    make: (options) => {
      const acks = new Map<string | undefined, (() => Promise<void>)[]>();
      return delivering((message) => {
        const all = acks.get(message.subscription) ?? [];
        acks.set(message.subscription, [...all, message.ack.bind(message)]);
        put(message, {
          ack: async () => {
            for (const ack of acks.get(message.subscription) ?? []) await ack().catch(() => undefined);
          },
        });
      })(options);
    },
  },
  {
    name: "gives no more time",
    caughtBy: "redelivery: extend gives more time",
    make: delivering((message) => put(message, { extend: nothing })),
  },
  {
    name: "gives no more time by id",
    caughtBy: "settle-by-id: broker.extend gives a delivery more time by its id",
    make: changed("extend", () => nothing),
  },
  {
    name: "keeps dead letters that nobody asked for",
    caughtBy: "dead-letters: without the option, dead letters are refused with ERR_MODULE_DISABLED",
    make: withOptions((options) => ({ deadLetter: {}, ...options })),
  },
  {
    name: "has transactions that nobody asked for",
    caughtBy: "transactions: without the option, transactions are refused with ERR_MODULE_DISABLED",
    make: withOptions((options) => ({ transactions: {}, ...options })),
  },
  {
    name: "takes one dedupId for another",
    caughtBy: "dedup: different ids are different messages",
    make: publishing(
      (right) => (topic, data, options) =>
        right(topic, data, options?.dedupId === undefined ? options : { ...options, dedupId: "one" }),
    ),
  },
  {
    name: "commits what is rolled back",
    caughtBy: "transactions: rollback, and a throw, deliver nothing",
    make: changed("rollbackTransaction", (_right, broker) => (id: string) => broker.commitTransaction(id)),
  },
  {
    name: "forgets what a transaction acknowledges",
    caughtBy: "transactions: publish and ack are one: after commit the delivery is done",
    make: changed(
      "beginTransaction",
      (right) =>
        (...args: Parameters<typeof right>) =>
          Object.assign(right(...args), { ack: nothing }),
    ),
  },
  {
    name: "leaves transactions open for ever",
    caughtBy: "transactions: a transaction that takes too long is rolled back",
    make: withOptions((options) => ({
      ...options,
      ...(options.transactions && { transactions: { timeout: Infinity } }),
    })),
  },
  {
    name: "begins another transaction where its id is taken",
    caughtBy: "transactions: a second commit, and an id that is taken, are refused",
    make: changed("beginTransaction", (right) => () => right()),
  },
  {
    name: "takes messages of any size",
    caughtBy: "back-pressure: a message too large is refused with ERR_MESSAGE_TOO_LARGE",
    make: withOptions((options) => without(options, "limits")),
  },
  {
    name: "has no bound to its memory",
    caughtBy:
      "back-pressure: beyond its memory the broker refuses with ERR_MEMORY_LIMIT, and takes again when there is room",
    make: withOptions((options) => without(options, "memory")),
  },
  {
    name: "leaves publishers held by a subscription that has gone",
    caughtBy: "back-pressure: an unsubscribe lets held publishers go on",
    make: subscribing(same, (subscription) => Object.assign(subscription, { unsubscribe: nothing })),
  },
  {
    name: "bounds messages and not bytes",
    caughtBy: "overflow: a bound by bytes holds too",
    make: subscribing((options) => without(options, "maxBytes")),
  },
  {
    name: "leaves subscriptions that nobody renews",
    caughtBy: "flow-control: a ttl ends a subscription that nobody renews; a heartbeat renews it",
    make: subscribing((options) => without(options, "ttl")),
  },
  {
    name: "ends an iteration where nothing waits",
    caughtBy: "iterators: an iterator that waits gets the next message",
    make: subscribing(same, (subscription) => {
      const next = subscription.next.bind(subscription);
      const over = { done: true, value: undefined } as const;
      Object.assign(subscription, { next: () => Promise.race([next(), Promise.resolve(over)]) });
    }),
  },
  {
    name: "ends iterations with an error",
    caughtBy: "iterators: unsubscribe ends an iterator that waits, without an error",
    make: subscribing(same, failsAtTheEnd),
  },
  {
    name: "ends iterations with an error, by a signal",
    caughtBy: "iterators: a signal ends an iteration, without an error",
    make: subscribing(same, failsAtTheEnd),
  },
  {
    name: "does not acknowledge by asking for the next",
    caughtBy: 'iterators: ack "auto": asking for the next message acknowledges the one before',
    make: subscribing((options) => (options.ack === "auto" ? { ...options, ack: "manual" } : options)),
  },
  {
    name: "iterates over a subscription with a handler",
    caughtBy: "iterators: next on a subscription with a handler is refused",
    make: subscribing(same, (subscription) => Object.assign(subscription, { next: nothing })),
  },
  {
    name: "waits although it was not to",
    caughtBy: "fetch: fetch with timeout 0 does not wait",
    make: subscribing(same, (subscription) => {
      const fetch = subscription.fetch.bind(subscription);
      Object.assign(subscription, { fetch: (count: number) => fetch(count) });
    }),
  },
  {
    name: "hands out more than may be in flight",
    caughtBy: "fetch: fetch stops short at maxInFlight, since more would not come",
    make: subscribing((options) => without(options, "maxInFlight")),
  },
  {
    name: "fetches nothing without a word",
    caughtBy: "fetch: fetch refuses a count below 1",
    make: subscribing(same, fetchesNothing),
  },
  {
    name: "fetches nothing where a signal ends it",
    caughtBy: "fetch: a signal ends a fetch with its reason",
    make: subscribing(same, fetchesNothing),
  },
  {
    name: "lists nothing that is retained",
    caughtBy: "retained: retained() lists them",
    make: changed("retained", () => () => []),
  },
  {
    name: "refuses an empty batch",
    caughtBy: "batch: an empty batch is fine",
    make: changed("publishBatch", () => () => Promise.reject(new Error("nothing to publish"))),
  },
  {
    name: "reports without being asked",
    caughtBy: "reports: report: absent unless asked for",
    make: publishing((right) => (topic, data, options) => right(topic, data, { ...options, report: true })),
  },
  {
    name: "waits for all topics instead of one",
    caughtBy: "idle: idle for a topic does not wait for others",
    make: changed("idle", (right) => () => right()),
  },
  {
    name: "is idle whatever waits",
    caughtBy: "idle: idle rejects with ERR_TIMEOUT",
    make: changed("idle", () => nothing),
  },
  {
    name: "forgets what a close could not finish",
    caughtBy: "close: a repeated close answers the same",
    make: changed("close", (right) => {
      let closes = 0;
      return async (...args: Parameters<typeof right>): Promise<CloseResult> => {
        closes += 1;
        const result = await right(...args);
        return closes === 1 ? result : { undelivered: [], unacked: [] };
      };
    }),
  },
  {
    name: "does not tell that it has closed",
    caughtBy: "close: close tells: a closed event, and subscriptions that are over",
    make: changed(
      "on",
      (right, broker) =>
        (...args: Parameters<typeof right>) =>
          args[0] === "closed" ? broker : right(...args),
    ),
  },
  {
    name: "arms a timer for each message",
    caughtBy: "timers: 100 deadlines need a handful of timers",
    make: (options) => {
      const timed = publishing((right) => (...args) => {
        options.clock?.schedule(1_000, () => undefined);
        return right(...args);
      });
      return timed(options);
    },
  },
  {
    name: "does not stop at as many answers as were asked for",
    caughtBy: "request-reply: requestMany yields answers up to max",
    make: changed(
      "requestMany",
      (right) =>
        (topic: string, data: unknown, { timeout }: { timeout?: number } = {}) =>
          right(topic, data, { timeout }),
    ),
  },
  {
    name: "replies to what nobody has asked",
    caughtBy: "request-reply: msg.reply answers by hand; without a request it is refused",
    make: delivering((message) => {
      const reply = message.reply.bind(message);
      put(message, { reply: (...args: Parameters<typeof reply>) => reply(...args).catch(() => undefined) });
    }),
  },
];

function failsAtTheEnd(subscription: Subscription): void {
  const next = subscription.next.bind(subscription);
  Object.assign(subscription, {
    next: async () => {
      const result = await next();
      if (result.done === true) throw new Error("it is over");
      return result;
    },
  });
}

function fetchesNothing(subscription: Subscription): void {
  const fetch = subscription.fetch.bind(subscription);
  Object.assign(subscription, {
    fetch: async (...args: Parameters<typeof fetch>) => fetch(...args).catch(() => []),
  });
}
