// Every option may be given as undefined, which means as much as leaving it out: `{ signal: maybeSignal }` compiles under
// exactOptionalPropertyTypes, which this project's tsconfig has on.
import { expectTypeOf, it } from "vitest";
import type {
  AckOptions,
  BatchEntry,
  BrokerOptions,
  CloseOptions,
  DeadLetterFilter,
  DeadLetterListOptions,
  ExponentialBackoffOptions,
  FetchOptions,
  IdleOptions,
  InProcBroker,
  LimitOptions,
  NackOptions,
  PriorityOptions,
  PublishOptions,
  RateLimit,
  RedriveOptions,
  ReplyOptions,
  RequestManyOptions,
  RequestOptions,
  SubscribeOptions,
  SubscriptionDefaults,
  SubscriptionEntry,
  TransactionOptions,
  UnsubscribeOptions,
} from "inproc-broker";
import type { TestBrokerOptions } from "inproc-broker/testing";

/** The optional properties that refuse undefined. */
type Refusing<Options> = {
  [Name in keyof Options]-?: object extends Pick<Options, Name>
    ? Record<Name, undefined> extends Pick<Options, Name>
      ? never
      : Name
    : never;
}[keyof Options];

it("finds what refuses undefined", () => {
  expectTypeOf<Refusing<{ a?: number; b?: number | undefined; c: number }>>().toEqualTypeOf<"a">();
});

it("no option refuses undefined", () => {
  expectTypeOf<Refusing<BrokerOptions>>().toBeNever();
  for (const _ of ["memory", "ttl", "dedup", "transactions", "deadLetter"] as const) {
    expectTypeOf<Refusing<NonNullable<BrokerOptions[typeof _]>>>().toBeNever();
  }
  expectTypeOf<Refusing<AckOptions>>().toBeNever();
  expectTypeOf<Refusing<LimitOptions>>().toBeNever();
  expectTypeOf<Refusing<PriorityOptions>>().toBeNever();
  expectTypeOf<Refusing<SubscriptionDefaults>>().toBeNever();
  expectTypeOf<Refusing<SubscribeOptions>>().toBeNever();
  expectTypeOf<Refusing<SubscriptionEntry>>().toBeNever();
  expectTypeOf<Refusing<PublishOptions>>().toBeNever();
  expectTypeOf<Refusing<BatchEntry>>().toBeNever();
  expectTypeOf<Refusing<RateLimit>>().toBeNever();
  expectTypeOf<Refusing<FetchOptions>>().toBeNever();
  expectTypeOf<Refusing<UnsubscribeOptions>>().toBeNever();
  expectTypeOf<Refusing<NackOptions>>().toBeNever();
  expectTypeOf<Refusing<ReplyOptions>>().toBeNever();
  expectTypeOf<Refusing<RequestOptions>>().toBeNever();
  expectTypeOf<Refusing<RequestManyOptions>>().toBeNever();
  expectTypeOf<Refusing<TransactionOptions>>().toBeNever();
  expectTypeOf<Refusing<IdleOptions>>().toBeNever();
  expectTypeOf<Refusing<CloseOptions>>().toBeNever();
  expectTypeOf<Refusing<DeadLetterFilter>>().toBeNever();
  expectTypeOf<Refusing<DeadLetterListOptions>>().toBeNever();
  expectTypeOf<Refusing<RedriveOptions>>().toBeNever();
  expectTypeOf<Refusing<ExponentialBackoffOptions>>().toBeNever();
  expectTypeOf<Refusing<TestBrokerOptions>>().toBeNever();
});

declare const broker: InProcBroker;
declare const signal: AbortSignal | undefined;
declare const timeout: number | undefined;

it("an option that may be missing is passed on as it is", () => {
  void broker.publish("t", 1, { signal, ttl: timeout });
  broker.subscribe("t", { signal, ackTimeout: timeout });
  void broker.subscribe("t").fetch(1, { signal, timeout });
  void broker.request("t", 1, { signal, timeout });
  void broker.idle({ signal, timeout });
  void broker.close({ timeout });
});
