/**
 * inproc-broker/testing: the real broker for tests, with a clock that stands still, faults from a seed, and a history to
 * assert on.
 *
 * @packageDocumentation
 */

export { KitAssertionError } from "./assertion-error.js";
export type { Duration } from "./duration.js";
export type { FaultHandle, Share } from "./fault-handle.js";
export type { AckFault, DeliverFault, Faults, PublishFault } from "./faults.js";
export { InjectedFault } from "./injected-fault.js";
export type { HistoryEntry, HistoryKind, HistoryView } from "./history.js";
export type { DeliveryOutcome } from "./ledger.js";
export type { KitStoreOptions } from "./kit-store.js";
export type { BrokerMatchers, HistoryMatcher, MatcherResult } from "./matchers.js";
export { matchers } from "./matchers.js";
export type { Expectation } from "./matching.js";
export type { StrictOptions, TestBrokerOptions } from "./options.js";
export { seededRandom } from "./seeded-random.js";
export type { SendDelivery, SendResult } from "./send.js";
export { Selection, Session } from "./session.js";
export { Tap } from "./tap.js";
export type { StoreFault } from "./store-faults.js";
export type { CrashOptions, SendOptions, WaitForOptions } from "./test-broker.js";
export { createTestBroker, TestBroker } from "./test-broker.js";
export type { PendingTimer, TestClock } from "./test-clock.js";
export type { VirtualClockOptions } from "./virtual-clock.js";
export { VirtualClock } from "./virtual-clock.js";
export type { KitIdleOptions } from "./waits.js";
