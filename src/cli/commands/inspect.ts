import type { FileSummary, StoreSummary } from "../../persistence/inspect.js";
import type { StoredRetention } from "../../persistence/retention-settings.js";
import type { Command } from "../command.js";
import { exitCode } from "../exit-code.js";
import { bytesText, countText, durationText, listText, oneLine } from "../format.js";
import { withInspector } from "../read.js";

export const inspect: Command = {
  name: "inspect",
  summary: "a store in numbers",
  operands: "<store>",
  details: `Shows what a store holds and what it takes on the disk: messages, topics, durables, dead letters; the log, the database,
and what earlier openings set aside. Damage that shows at once is listed, and the exit code is 1 then; "verify" reads
everything. Changes nothing.`,
  options: {},
  examples: [
    ["inproc-broker inspect ./data", "the store in ./data"],
    ["inproc-broker inspect ./data --json | jq .messages", "how many messages it keeps"],
    ["inproc-broker inspect ./data --key 1=./store.key", "an encrypted one"],
  ],
  run: (context) =>
    withInspector(context, async (inspector) => {
      const summary = await inspector.summary();
      await context.result(summary, textOf(summary));
      return summary.problems.length > 0 ? exitCode.problems : exitCode.ok;
    }),
};

function textOf(summary: StoreSummary): string {
  const { holder, keyId, messages, topics, lastSeq, deadLetters, delayed, retained, dedupIds } = summary;
  const lines = listText([
    ["store", summary.path],
    ["format", summary.format === undefined ? "unknown: the database is lost" : `${summary.format}`],
    ["in use", holder === undefined ? "no" : `by process ${holder.pid} on ${holder.host}`],
    ["encrypted", keyId === undefined ? "no" : `with key ${keyId}`],
    ["retention", retentionText(summary.retention)],
    ["messages", `${messages} on ${countText(topics, "topic")}; the last number is ${lastSeq}`],
    ["durables", `${summary.durables}`],
    [
      "besides",
      `${countText(deadLetters, "dead letter")}, ${delayed} delayed, ${retained} retained, ${countText(dedupIds, "dedup id")}`,
    ],
    ["log", filesText(summary.log)],
    ["database", filesText(summary.database)],
    ["quarantine", summary.quarantine.files === 0 ? "empty" : filesText(summary.quarantine)],
  ]);
  return lines + summary.problems.map((problem) => `problem: ${oneLine(problem)}\n`).join("");
}

function retentionText({ policy, maxAge, maxBytes, maxMessages }: StoredRetention): string {
  const limits = [
    ...(maxAge === undefined ? [] : [durationText(maxAge)]),
    ...(maxBytes === undefined ? [] : [bytesText(maxBytes)]),
    ...(maxMessages === undefined ? [] : [countText(maxMessages, "message")]),
  ];
  return limits.length === 0 ? policy : `${policy}, ${limits.join(", ")}`;
}

function filesText({ files, bytes }: FileSummary): string {
  return `${countText(files, "file")}, ${bytesText(bytes)}`;
}
