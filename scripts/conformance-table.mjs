// @ts-check
/**
 * The page docs/conformance.md, from what became of the cases: features × implementations, then every promise.
 *
 * @typedef {import("inproc-broker/conformance").CaseResult} CaseResult
 * @typedef {{ name: string, results: CaseResult[] }} Run
 */

/**
 * Runs every case of the suite on an implementation; in another thread or process where there is a `remote` that runs them.
 *
 * @param {typeof import("inproc-broker/conformance")} suite
 * @param {Pick<import("inproc-broker/conformance").ConformanceSetup, "factory" | "supports" | "except">} setup
 * @param {{ run(name: string): Promise<void> }} [remote]
 * @returns {Promise<CaseResult[]>}
 */
export async function runAll({ conformance, conformanceCases }, setup, remote) {
  const facts = new Map(conformanceCases().map((one) => [one.name, one]));
  /** @type {Map<string, CaseResult>} */
  const results = new Map();
  /** @type {(() => Promise<void>)[]} */
  const tests = [];
  const runThere = async (/** @type {string} */ name) => {
    const one = facts.get(name);
    if (one === undefined) return;
    const outcome = await remote?.run(name).then(
      () => ({ outcome: /** @type {const} */ ("passed") }),
      (/** @type {unknown} */ error) => ({ outcome: /** @type {const} */ ("failed"), reason: String(error) }),
    );
    if (outcome !== undefined) results.set(name, { ...one, ...outcome });
  };
  conformance({
    ...setup,
    test: (name, run) => tests.push(remote === undefined ? run : () => runThere(name)),
    onResult: (result) => results.set(result.name, result),
  });
  for (const test of tests) await test().catch(() => undefined);
  return [...results.values()];
}

/**
 * @param {readonly Run[]} runs
 * @param {readonly import("inproc-broker/conformance").CaseFacts[]} cases
 */
export function conformancePage(runs, cases) {
  const features = [...new Set(cases.map(({ feature }) => feature))];
  const of = (/** @type {Run} */ run, /** @type {string} */ feature) =>
    run.results.filter((result) => result.feature === feature);
  const cell = (/** @type {Run} */ run, /** @type {string} */ feature) => {
    const results = of(run, feature);
    const passed = results.filter(({ outcome }) => outcome === "passed").length;
    const skipped = results.filter(({ outcome }) => outcome === "skipped");
    if (skipped.length === results.length) return `no: ${skipped[0]?.reason}`;
    const rest = skipped.length === 0 ? "" : `, ${skipped.length} skipped`;
    return passed + skipped.length === results.length
      ? `${passed} of ${results.length}${rest}`
      : `**${passed} of ${results.length}**`;
  };
  const total = (/** @type {Run} */ run) => {
    const passed = run.results.filter(({ outcome }) => outcome === "passed").length;
    return `${passed} of ${run.results.length}`;
  };
  const row = (/** @type {string[]} */ cells) => `| ${cells.join(" | ")} |`;
  const anchor = (/** @type {string} */ feature) => `[${feature}](#${feature})`;
  return [
    "# Conformance",
    "",
    "What every implementation of `Broker` promises, and which of them keep it: the cases of `inproc-broker/conformance` that",
    "passed, by feature. This page is written by a run of the suite (`npm run build && node scripts/write-conformance.mjs`).",
    "",
    row(["feature", ...runs.map(({ name }) => name)]),
    row(["---", ...runs.map(() => "---")]),
    ...features.map((feature) => row([anchor(feature), ...runs.map((run) => cell(run, feature))])),
    row(["**all**", ...runs.map(total)]),
    "",
    "How to run it on an implementation of your own is in the documentation of `conformance`.",
    "",
    "## The promises",
    ...features.flatMap((feature) => [
      "",
      `### ${feature}`,
      "",
      ...cases
        .filter((one) => one.feature === feature)
        .map(({ promise }) => `- ${promise.replaceAll("*", "\\*").replaceAll("_", "\\_")}`),
    ]),
    "",
  ].join("\n");
}
