/**
 * inproc-broker/conformance: the suite that every implementation of `Broker` passes, in the caller's test runner.
 *
 * @packageDocumentation
 */

export type { BrokerFactory } from "./case.js";
export { ConformanceError } from "./check.js";
export type { CaseFacts, ConformanceSetup } from "./conformance.js";
export { conformance, conformanceCases } from "./conformance.js";
export type { CaseResult, ConformanceOptions, ConformantBroker, Feature, Implementation } from "./contract.js";
export { features } from "./contract.js";
export type { StressOptions } from "./stress.js";
