import { describe, expectTypeOf, it } from "vitest";
import type {
  AnyTopics,
  Attempt,
  BatchEntry,
  Broker,
  BrokerOptions,
  Handler,
  Message,
  MessageRecord,
  Receipt,
  StandardSchema,
  SubscribeOptions,
  Subscription,
  Transaction,
} from "inproc-broker";
import { InProcBroker } from "inproc-broker";

interface Order {
  readonly id: number;
  readonly total: number;
}

interface Topics {
  "orders.created": Order;
  "orders.cancelled": { readonly id: number; readonly why: string };
  "orders.eu.created": Order & { readonly vat: string };
  ready: null;
  "sensors.*.temperature": number;
  "logs.>": string;
}

declare const broker: InProcBroker<Topics>;
declare const untyped: InProcBroker;
declare const mixed: InProcBroker<{ "a.b": number; "a.*": string }>;
declare const numbers: InProcBroker<Record<string, number>>;

/** The messages a subscription yields. */
type Yielded<Sub> = Sub extends Subscription<infer Received> ? Received : never;

describe("publish", () => {
  it("takes the topics of the map, with their payloads", () => {
    expectTypeOf(broker.publish("orders.created", { id: 1, total: 2 })).resolves.toEqualTypeOf<Receipt>();
    expectTypeOf(broker.publishSync("ready", null)).toEqualTypeOf<Receipt>();
    void broker.publish("orders.cancelled", { id: 1, why: "because" }, { priority: "high", ttl: 5 });
  });

  it("refuses an unknown topic, a wrong payload, an unknown option", () => {
    // @ts-expect-error -- not in the map
    void broker.publish("orders.create", { id: 1, total: 2 });
    // @ts-expect-error -- total is missing
    void broker.publish("orders.created", { id: 1 });
    // @ts-expect-error -- a number, not a text
    void broker.publish("orders.created", { id: "1", total: 2 });
    // @ts-expect-error -- another topic's payload
    void broker.publish("orders.cancelled", { id: 1, total: 2 });
    // @ts-expect-error -- null is all there is
    broker.publishSync("ready", 1);
    // @ts-expect-error -- a misspelt option
    void broker.publish("ready", null, { priorty: 1 });
    // @ts-expect-error -- priorities are 0 to 9
    void broker.publish("ready", null, { priority: 10 });
  });

  it("knows wildcards in the map: any topic they match, and no other", () => {
    void broker.publish("sensors.kitchen.temperature", 21);
    void broker.publish("logs.api", "up");
    void broker.publish("logs.api.http", "up");
    // @ts-expect-error -- it takes a number
    void broker.publish("sensors.kitchen.temperature", "21");
    // @ts-expect-error -- one token only
    void broker.publish("sensors.kitchen.oven.temperature", 21);
    // @ts-expect-error -- not what sensors send
    void broker.publish("sensors.kitchen.humidity", 21);
    // @ts-expect-error -- it takes a text
    void broker.publish("logs.api", 1);
    // @ts-expect-error -- `>` is one token or more
    void broker.publish("logs", "up");
  });

  it("of a batch checks every entry", () => {
    expectTypeOf(
      broker.publishBatch([
        { topic: "orders.created", data: { id: 1, total: 2 }, key: "k" },
        { topic: "sensors.attic.temperature", data: 30 },
        { topic: "logs.a.b.c", data: "text" },
      ]),
    ).resolves.toEqualTypeOf<Receipt[]>();
    // @ts-expect-error -- the payload of another topic
    void broker.publishBatch([{ topic: "orders.created", data: { id: 1, why: "" } }]);
    // @ts-expect-error -- not in the map
    void broker.publishBatch([{ topic: "nobody", data: 1 }]);
    expectTypeOf<BatchEntry<{ a: number; b: string }>["topic"]>().toEqualTypeOf<"a" | "b">();
  });

  it("of a transaction is typed in the same way", () => {
    void broker.transaction((tx) => {
      expectTypeOf(tx).toEqualTypeOf<Transaction<Topics>>();
      void tx.publish("orders.created", { id: 1, total: 2 });
      // @ts-expect-error -- a wrong payload
      void tx.publish("orders.created", "nothing");
      // @ts-expect-error -- not in the map
      void tx.publish("nobody", 1);
    });
    expectTypeOf(broker.transaction(() => 5)).resolves.toEqualTypeOf<number>();
    expectTypeOf(broker.transaction(async () => "text")).resolves.toEqualTypeOf<string>();
  });
});

describe("a subscription", () => {
  it("to a topic receives its payload", () => {
    expectTypeOf(broker.subscribe("orders.created")).toEqualTypeOf<Subscription<Message<Order, "orders.created">>>();
    broker.subscribe("orders.created", (msg) => {
      expectTypeOf(msg.data).toEqualTypeOf<Order>();
      expectTypeOf(msg.topic).toEqualTypeOf<"orders.created">();
    });
    broker.subscribe("ready", ({ data }) => expectTypeOf(data).toEqualTypeOf<null>());
  });

  it("to a pattern receives a union, told apart by topic", () => {
    broker.subscribe("orders.*", (msg) => {
      expectTypeOf(msg.topic).toEqualTypeOf<"orders.created" | "orders.cancelled">();
      if (msg.topic === "orders.created") expectTypeOf(msg.data).toEqualTypeOf<Order>();
      else expectTypeOf(msg.data.why).toEqualTypeOf<string>();
    });
    broker.subscribe("orders.>", (msg) => {
      switch (msg.topic) {
        case "orders.created":
          expectTypeOf(msg.data).toEqualTypeOf<Order>();
          break;
        case "orders.cancelled":
          expectTypeOf(msg.data.why).toEqualTypeOf<string>();
          break;
        case "orders.eu.created":
          expectTypeOf(msg.data.vat).toEqualTypeOf<string>();
          break;
      }
    });
    broker.subscribe("*.eu.*", ({ topic }) =>
      expectTypeOf(topic).toEqualTypeOf<"orders.eu.created" | `sensors.${string}.temperature` | `logs.${string}`>(),
    );
    broker.subscribe("*", ({ topic }) => expectTypeOf(topic).toEqualTypeOf<"ready">());
  });

  it("to everything receives every member; topics of wildcard keys are what they match, not the key", () => {
    broker.subscribe(">", (msg) => {
      expectTypeOf(msg.topic).toEqualTypeOf<
        | "orders.created"
        | "orders.cancelled"
        | "orders.eu.created"
        | "ready"
        | `sensors.${string}.temperature`
        | `logs.${string}`
      >();
      if (msg.topic === "orders.created") expectTypeOf(msg.data).toEqualTypeOf<Order>();
      if (msg.topic === "ready") expectTypeOf(msg.data).toEqualTypeOf<null>();
      if (msg.topic === "sensors.kitchen.temperature") expectTypeOf(msg.data).toEqualTypeOf<number>();
    });
  });

  it("meets wildcard keys with its own wildcards", () => {
    broker.subscribe("sensors.kitchen.temperature", (msg) => {
      expectTypeOf(msg.data).toEqualTypeOf<number>();
      expectTypeOf(msg.topic).toEqualTypeOf<"sensors.kitchen.temperature">();
    });
    broker.subscribe("sensors.kitchen.*", ({ data }) => expectTypeOf(data).toEqualTypeOf<number>());
    broker.subscribe("sensors.*.*", ({ data }) => expectTypeOf(data).toEqualTypeOf<number>());
    broker.subscribe("sensors.>", ({ data }) => expectTypeOf(data).toEqualTypeOf<number>());
    broker.subscribe("*.kitchen.*", ({ data }) => expectTypeOf(data).toEqualTypeOf<number | string>());
    broker.subscribe("logs.api.*", ({ data }) => expectTypeOf(data).toEqualTypeOf<string>());
    broker.subscribe("logs.a.b.c", ({ data }) => expectTypeOf(data).toEqualTypeOf<string>());
    broker.subscribe("logs.api.>", ({ data }) => expectTypeOf(data).toEqualTypeOf<string>());
  });

  it("to several patterns receives what any of them can", () => {
    broker.subscribe(["orders.created", "ready"], (msg) => {
      expectTypeOf(msg.topic).toEqualTypeOf<"orders.created" | "ready">();
      expectTypeOf(msg.data).toEqualTypeOf<Order | null>();
    });
    broker.subscribe(["orders.*", "sensors.>"], ({ data }) =>
      expectTypeOf(data).toEqualTypeOf<Order | Topics["orders.cancelled"] | number>(),
    );
    const patterns: readonly ["ready", "orders.cancelled"] = ["ready", "orders.cancelled"];
    broker.subscribe(patterns, ({ topic }) => expectTypeOf(topic).toEqualTypeOf<"ready" | "orders.cancelled">());
  });

  it("to what is no topic of the map receives nothing", () => {
    broker.subscribe("nobody", (msg) => expectTypeOf(msg).toEqualTypeOf<never>());
    broker.subscribe("orders", (msg) => expectTypeOf(msg).toEqualTypeOf<never>());
    broker.subscribe("orders.created.twice", (msg) => expectTypeOf(msg).toEqualTypeOf<never>());
    broker.subscribe("ready.>", (msg) => expectTypeOf(msg).toEqualTypeOf<never>());
  });

  it("to a pattern that is only known when it runs receives any member", () => {
    const pattern: string = "orders.created";
    broker.subscribe(pattern, ({ topic }) =>
      expectTypeOf(topic).toEqualTypeOf<
        Exclude<keyof Topics, `${string}${"*" | ">"}${string}`> | `sensors.${string}.temperature` | `logs.${string}`
      >(),
    );
    const event: string = "created";
    broker.subscribe(`orders.${event}`, ({ topic }) =>
      expectTypeOf(topic).toEqualTypeOf<"orders.created" | "orders.cancelled" | "orders.eu.created">(),
    );
  });

  it("of a topic beside a wildcard that covers it is the topic's alone", () => {
    mixed.subscribe("a.b", ({ data }) => expectTypeOf(data).toEqualTypeOf<number>());
    mixed.subscribe("a.c", ({ data }) => expectTypeOf(data).toEqualTypeOf<string>());
    void mixed.publish("a.b", 1);
    void mixed.publish("a.c", "text");
    // @ts-expect-error -- it takes a number
    void mixed.publish("a.b", "text");
  });

  it("is iterated, fetched and filtered in its type", async () => {
    const sub = broker.subscribe("orders.*", { filter: (msg) => msg.topic === "orders.created" && msg.data.total > 5 });
    for await (const msg of sub) expectTypeOf(msg.topic).toEqualTypeOf<"orders.created" | "orders.cancelled">();
    expectTypeOf(sub.fetch(5)).resolves.toEqualTypeOf<Yielded<typeof sub>[]>();
    broker.subscribe("ready", () => undefined, {
      filter: ({ data }) => {
        expectTypeOf(data).toEqualTypeOf<null>();
        return true;
      },
    });
    // @ts-expect-error -- a filter answers yes or no
    broker.subscribe("ready", { filter: () => "yes" });
    // @ts-expect-error -- there is no such policy
    broker.subscribe("ready", { overflow: "explode" });
  });

  it("takes a handler that is declared elsewhere", () => {
    const handler: Handler<Message<Order>> = ({ data }) => data.total;
    broker.subscribe("orders.created", handler);
    const options: SubscribeOptions<Message<Order, "orders.created">> = { concurrency: 4, ack: "auto" };
    broker.subscribe("orders.created", handler, options);
    // @ts-expect-error -- it wants orders
    broker.subscribe("ready", handler);
  });

  it("is what peek and unsubscribe take", () => {
    const sub = broker.subscribe("orders.*");
    expectTypeOf(broker.peek(sub, 5)).toEqualTypeOf<MessageRecord[]>();
    expectTypeOf(broker.peek("billing")).toEqualTypeOf<MessageRecord[]>();
    // @ts-expect-error -- a number is neither
    broker.peek(5);
  });
});

describe("request and respond", () => {
  it("type the question by topic, and the answer by what is asked for", () => {
    expectTypeOf(broker.request("orders.created", { id: 1, total: 2 })).resolves.toEqualTypeOf<unknown>();
    expectTypeOf(broker.request<number>("orders.created", { id: 1, total: 2 })).resolves.toEqualTypeOf<number>();
    // @ts-expect-error -- a wrong payload
    void broker.request("orders.created", 5);
    // @ts-expect-error -- not in the map
    void broker.request("nobody", 5);
    broker.respond("orders.created", (msg) => {
      expectTypeOf(msg.data).toEqualTypeOf<Order>();
      return msg.data.total;
    });
    expectTypeOf(broker.requestMany<number>("ready", null)).toExtend<AsyncIterable<number>>();
  });
});

describe("a broker without a map", () => {
  it("takes any topic and any payload, and gives any data", () => {
    void untyped.publish("whatever.you.like", { any: "thing" });
    untyped.subscribe("a.*", (msg) => {
      expectTypeOf(msg.data).toBeAny();
      expectTypeOf(msg.topic).toEqualTypeOf<string>();
    });
    void untyped.publishBatch([
      { topic: "a", data: 1 },
      { topic: "b", data: "text" },
    ]);
    expectTypeOf(untyped.request("a", 1)).resolves.toEqualTypeOf<unknown>();
    expectTypeOf(InProcBroker.open()).resolves.toEqualTypeOf<InProcBroker<AnyTopics>>();
  });

  it("is open to payloads of one type", () => {
    void numbers.publish("a", 1);
    // @ts-expect-error -- numbers only
    void numbers.publish("a", "text");
    numbers.subscribe(">", ({ data }) => expectTypeOf(data).toEqualTypeOf<number>());
  });
});

describe("the Broker interface", () => {
  it("is what an InProcBroker is, typed and untyped", () => {
    expectTypeOf<InProcBroker<Topics>>().toExtend<Broker<Topics>>();
    expectTypeOf<InProcBroker>().toExtend<Broker>();
    const port: Broker<Topics> = broker;
    void port.publish("orders.created", { id: 1, total: 2 });
    // @ts-expect-error -- typed through the interface as well
    void port.publish("orders.created", 1);
    port.subscribe("orders.*", ({ topic }) =>
      expectTypeOf(topic).toEqualTypeOf<"orders.created" | "orders.cancelled">(),
    );
  });

  it("serves code that is generic over its topics", () => {
    async function publishTwice<T extends { tick: number }>(any: Broker<T>): Promise<void> {
      await any.publish("tick" as never, 1 as never);
    }
    expectTypeOf(publishTwice<{ tick: number }>).toBeFunction();
  });
});

describe("options", () => {
  it("are read-only data, and misspelt ones are errors", () => {
    const options: BrokerOptions = { shards: 4, ack: { maxDeliveries: 3 }, deadLetter: {} };
    expectTypeOf(new InProcBroker<Topics>(options)).toEqualTypeOf<InProcBroker<Topics>>();
    // @ts-expect-error -- a misspelt option
    new InProcBroker({ shard: 4 });
    // @ts-expect-error -- one policy there is
    new InProcBroker({ memory: { onLimit: "drop" } });
    // @ts-expect-error -- not a reason
    new InProcBroker({ deadLetter: { reasons: ["bored"] } });
    expectTypeOf<StandardSchema>().toHaveProperty("~standard");
  });

  it("of events give their listeners' arguments", () => {
    broker.on("dead-letter", (letter) => expectTypeOf(letter.history).toEqualTypeOf<readonly Attempt[]>());
    broker.on("redeliver", ({ delay }) => expectTypeOf(delay).toEqualTypeOf<number>());
    broker.on("error", (error, context) => {
      expectTypeOf(error).toEqualTypeOf<unknown>();
      expectTypeOf(context.during).toExtend<string>();
    });
    // @ts-expect-error -- no such event
    broker.on("explode", () => undefined);
  });
});
