import { allCases } from "./all-cases.js";
import type { Case } from "./case.js";
import type { BrokerFactory } from "./case.js";
import { CaseContext } from "./case.js";
import type { CaseResult, Feature } from "./contract.js";
import { features } from "./contract.js";
import { NotHappened } from "./check.js";
import { TooLate } from "./moment.js";
import type { StressOptions } from "./stress.js";
import { stress } from "./stress.js";

/** How often a case is run that was too slow on real time. */
const mostAttempts = 5;

/** What the suite runs on, and in. */
export interface ConformanceSetup {
  /** The runner's: registers a test of that name. vitest's `test`, node:test's `test`, jest's `test`. */
  readonly test: (name: string, run: () => Promise<void>) => unknown;
  /** Registers a case that is not run; default: nobody is told but `onResult`. */
  readonly skip?: (name: string, reason: string) => unknown;
  /**
   * Opens a broker with these options: the broker, whose time is then real, or the broker and how to move its time. On real
   * time a case that a busy machine has made too slow to look before a deadline is run again, up to five times, and then
   * counts as skipped: it fails for what the broker does alone. Called for each case, at least once; brokers must not share
   * anything.
   */
  readonly factory: BrokerFactory;
  /** What it does not support: `false`, or better the reason in words. What is not named, it does. */
  readonly supports?: Readonly<Partial<Record<Feature, boolean | string>>>;
  /** Single cases that it does not pass, by name, with the reason. A name that no case has throws. */
  readonly except?: Readonly<Record<string, string>>;
  /** Runs the stress mode too; off by default. */
  readonly stress?: StressOptions;
  /** Told what became of each case, for a report. */
  readonly onResult?: (result: CaseResult) => void;
}

/** A case, to those who list them. */
export interface CaseFacts {
  /** `feature: promise`, the name of its test. */
  readonly name: string;
  /** What it belongs to. */
  readonly feature: Feature;
  /** What it checks. */
  readonly promise: string;
}

/** Every case of the suite, in order. */
export function conformanceCases(): CaseFacts[] {
  return allCases.map((one) => ({ name: nameOf(one), feature: one.feature, promise: one.promise }));
}

/**
 * Registers the suite that every implementation of `Broker` passes: a test for each promise of the contract, by feature.
 *
 * @example
 * ```ts
 * import { test } from "node:test";
 * import { conformance } from "inproc-broker/conformance";
 *
 * conformance({
 *   test,
 *   factory: (options) => MyBroker.open(options),
 *   supports: { durables: "it has no store", replay: "it has no store", crash: "it has no store" },
 * });
 * ```
 */
export function conformance(setup: ConformanceSetup): void {
  const { supports = {}, except = {}, onResult } = setup;
  const names = new Set(allCases.map(nameOf));
  for (const name of Object.keys(except)) {
    if (!names.has(name)) throw new TypeError(`conformance: there is no case named ${JSON.stringify(name)}`);
  }
  for (const name of Object.keys(supports)) {
    if (!features.includes(name as Feature)) {
      throw new TypeError(
        `conformance: there is no feature named ${JSON.stringify(name)}; known are ${features.join(", ")}`,
      );
    }
  }
  for (const one of allCases) {
    const name = nameOf(one);
    const facts = { name, feature: one.feature, promise: one.promise };
    const reason = except[name] ?? unsupported(one, supports);
    if (reason !== undefined) {
      setup.skip?.(name, reason);
      onResult?.({ ...facts, outcome: "skipped", reason });
      continue;
    }
    setup.test(name, () =>
      runCase(setup, (context) => one.run(context)).then(
        (missed) => onResult?.({ ...facts, ...(missed === undefined ? { outcome: "passed" } : missed) }),
        (error: unknown) => {
          onResult?.({ ...facts, outcome: "failed", reason: error instanceof Error ? error.message : String(error) });
          throw error;
        },
      ),
    );
  }
  const { stress: stressOptions } = setup;
  if (stressOptions !== undefined) {
    setup.test(`stress: ${stressOptions.messages ?? 2_000} messages, seed ${stressOptions.seed ?? 1}`, async () => {
      await runCase(setup, (context) => stress(context, stressOptions));
    });
  }
}

/** Runs a case, again where the machine was too slow for it. Resolves to why it says nothing, where that was so each time. */
async function runCase(
  setup: ConformanceSetup,
  run: (context: CaseContext) => Promise<void>,
): Promise<{ readonly outcome: "skipped"; readonly reason: string } | undefined> {
  for (let attempt = 0; attempt < mostAttempts; attempt += 1) {
    const context = new CaseContext(setup.factory);
    try {
      await run(context);
      return undefined;
    } catch (error) {
      const isVoid = error instanceof TooLate || (context.isTooLate && !(error instanceof NotHappened));
      if (!isVoid) throw error;
    } finally {
      await context.end();
    }
  }
  return { outcome: "skipped", reason: `the machine was too slow for it, ${mostAttempts} times` };
}

function unsupported(one: Case, supports: NonNullable<ConformanceSetup["supports"]>): string | undefined {
  for (const feature of [one.feature, ...one.needs]) {
    const answer = supports[feature];
    if (typeof answer === "string") return answer;
    if (answer === false) return `${feature}: not supported`;
  }
  return undefined;
}

function nameOf(one: Case): string {
  return `${one.feature}: ${one.promise}`;
}
